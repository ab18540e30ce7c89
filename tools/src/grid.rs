//! Tables for people: columns as wide as they need to be.

use serde_json::Value;

/// Rows under a heading.
pub struct Grid {
    rows: Vec<Vec<String>>,
}

impl Grid {
    pub fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|title| title.to_uppercase()).collect()] }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// A row of these fields of an object.
    pub fn fields(&mut self, object: &Value, fields: &[&str]) {
        self.row(fields.iter().map(|field| cell(object.get(*field))).collect());
    }

    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            self.rows.iter().filter_map(|row| row.get(at)).map(|c| c.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
        let mut out = String::new();
        for row in &self.rows {
            let padded: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            out.push_str(padded.join("  ").trim_end());
            out.push('\n');
        }
        out
    }
}

/// A value as a cell: lists with commas, nothing as a dash.
pub fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::from("-"),
        Some(Value::String(text)) if text.is_empty() => String::from("-"),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut grid = Grid::new(&["id", "name"]);
        let object = serde_json::json!({"id": 12, "name": "ä", "allow": ["PCMA", "PCMU"]});
        grid.fields(&object, &["id", "name", "allow", "none"]);
        assert_eq!(grid.text(), "ID  NAME\n12  ä     PCMA,PCMU  -\n");
    }
}
