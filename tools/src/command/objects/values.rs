//! `FIELD=VALUE` as the API wants it: numbers, flags and lists by the field's shape.

use std::io::Read;

use serde_json::{Map, Value, json};
use signaling::api::fields::{Field, Shape, find};

use crate::failure::{Failure, REFUSED};

/// The document that the arguments stand for. An empty value is null: it removes the field.
pub fn document(fields: &[Field], values: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut document = Map::new();
    for argument in values {
        let Some((name, text)) = argument.split_once('=') else {
            return Err(refused(format!("\"{argument}\" is not FIELD=VALUE")));
        };
        let shape = find(fields, name).map(|field| field.shape);
        document.insert(name.to_owned(), value(name, shape, text)?);
    }
    Ok(document)
}

fn value(name: &str, shape: Option<Shape>, text: &str) -> Result<Value, Failure> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let number = |text: &str| {
        text.parse::<u64>().map_err(|_| refused(format!("{name}: \"{text}\" is no whole number")))
    };
    Ok(match shape {
        Some(Shape::Flag) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => json!(true),
            "false" | "no" | "off" | "0" => json!(false),
            _ => return Err(refused(format!("{name}: \"{text}\" is neither true nor false"))),
        },
        Some(Shape::Number(..)) => json!(number(text)?),
        Some(Shape::Texts) => parts(text).map(Value::from).collect(),
        Some(Shape::Numbers(..)) => Value::Array(
            parts(text).map(|part| number(part).map(Value::from)).collect::<Result<_, _>>()?,
        ),
        Some(Shape::Secret(_)) => json!(secret(name, text)?),
        Some(Shape::Text(_) | Shape::Word(_)) => json!(text),
        // What the gateway does not know either, it names.
        None => match (text.parse::<u64>(), text.parse::<bool>()) {
            (Ok(number), _) => json!(number),
            (_, Ok(flag)) => json!(flag),
            _ => json!(text),
        },
    })
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// A secret in an argument is seen by everybody on the host: it is read from a file or from
/// standard input.
fn secret(name: &str, text: &str) -> Result<String, Failure> {
    let mut read = String::new();
    let outcome = match (text, text.strip_prefix('@')) {
        ("-", _) => std::io::stdin().read_to_string(&mut read).map(drop),
        (_, Some(file)) => std::fs::read_to_string(file).map(|text| read = text),
        _ => {
            return Err(refused(format!(
                "{name}: everybody on this host sees arguments; write {name}=@FILE, or {name}=- and \
                 send it on standard input"
            )));
        }
    };
    outcome.map_err(|error| refused(format!("{name}={text}: {error}")))?;
    Ok(read.trim_end_matches(['\r', '\n']).to_owned())
}

/// What a value may be, for people.
pub fn shape(shape: Shape) -> String {
    match shape {
        Shape::Text(limit) => format!("text, at most {limit}"),
        Shape::Secret(_) => String::from("@FILE or -"),
        Shape::Flag => String::from("true, false"),
        Shape::Number(from, to) => format!("{from} to {to}"),
        Shape::Word(words) => words.join(", "),
        Shape::Texts => String::from("list, with commas"),
        Shape::Numbers(from, to) => format!("list of {from} to {to}"),
    }
}

fn refused(text: String) -> Failure {
    Failure { code: REFUSED, text }
}

#[cfg(test)]
mod tests {
    use signaling::api::fields::{GROUP, TRUNK};

    use super::*;

    fn read(fields: &[Field], values: &[&str]) -> Result<Value, String> {
        let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        document(fields, &values).map(Value::Object).map_err(|failure| failure.text)
    }

    #[test]
    fn values_take_the_shape_of_their_field() {
        let found = read(
            TRUNK,
            &["port=5070", "register=on", "allow=PCMA, G722", "username=1234", "nat=", "new=1"],
        );
        let wanted = json!({"port": 5070, "register": true, "allow": ["PCMA", "G722"],
                            "username": "1234", "nat": null, "new": 1});
        assert_eq!(found.unwrap(), wanted);
        let codes = read(GROUP, &["failover_codes=503,408"]).unwrap();
        assert_eq!(codes, json!({"failover_codes": [503, 408]}));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for wrong in ["port=x", "register=maybe", "host", "password=plain"] {
            let field = wrong.split('=').next().unwrap();
            assert!(read(TRUNK, &[wrong]).unwrap_err().contains(field), "{wrong}");
        }
    }

    #[test]
    fn a_secret_comes_from_a_file() {
        let file = std::env::temp_dir().join(format!("trunkline-secret-{}", std::process::id()));
        std::fs::write(&file, "pass word\n").unwrap();
        let found = read(TRUNK, &[&format!("password=@{}", file.display())]).unwrap();
        std::fs::remove_file(file).unwrap();
        assert_eq!(found, json!({"password": "pass word"}));
    }
}
