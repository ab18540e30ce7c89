//! The two kinds of figure, as SVG text.

use plotters::prelude::*;

use crate::fault::Fault;

/// One bar: `of` (a device) within `group` (a workload).
#[derive(Clone, Debug)]
pub struct Bar {
    pub group: String,
    pub of: String,
    pub value: f64,
}

/// Delay of one device: (quantile, microseconds).
#[derive(Clone, Debug)]
pub struct Curve {
    pub of: String,
    pub points: Vec<(f64, f64)>,
}

/// Bars in groups, one colour for each device.
///
/// # Errors
/// The drawing library's.
pub fn bars(bars: &[Bar], unit: &str) -> Result<String, Fault> {
    let groups = distinct(bars.iter().map(|bar| &bar.group));
    let devices = distinct(bars.iter().map(|bar| &bar.of));
    let top = bars.iter().map(|bar| bar.value).fold(0.0, f64::max) * 1.15 + 1e-9;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(15)
            .x_label_area_size(35)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..groups.len() as f64, 0.0..top)
            .map_err(failed)?;
        let name = |x: &f64| groups.get(x.floor() as usize).cloned().unwrap_or_default();
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(groups.len() * 2 + 1)
            .x_label_formatter(&|x| {
                if (x.fract() - 0.5).abs() < 0.01 { name(x) } else { String::new() }
            })
            .y_desc(unit)
            .draw()
            .map_err(failed)?;
        let width = 0.8 / devices.len().max(1) as f64;
        for (index, device) in devices.iter().enumerate() {
            let colour = colour(index);
            let own = bars.iter().filter(|bar| &bar.of == device).filter_map(|bar| {
                let group = groups.iter().position(|group| *group == bar.group)?;
                let left = group as f64 + 0.1 + width * index as f64;
                let corners = [(left, 0.0), (left + width * 0.95, bar.value)];
                Some(Rectangle::new(corners, colour.filled()))
            });
            chart.draw_series(own).map_err(failed)?.label(device).legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled())
            });
        }
        legend(&mut chart)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Delay over percentiles, which are spaced by nines: 50, 90, 99, 99.9.
///
/// # Errors
/// The drawing library's.
pub fn curves(curves: &[Curve]) -> Result<String, Fault> {
    let nines = |quantile: f64| -(1.0 - quantile).max(1e-6).log10();
    let top = curves.iter().flat_map(|curve| &curve.points).map(|p| p.1).fold(10.0, f64::max);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(15)
            .x_label_area_size(35)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..4.0, (1.0..top * 1.5).log_scale())
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_labels(5)
            .x_label_formatter(&|x| format!("{} %", 100.0 - 100.0 * 10_f64.powf(-x)))
            .y_desc("delay, us")
            .draw()
            .map_err(failed)?;
        for (index, curve) in curves.iter().enumerate() {
            let colour = colour(index);
            let points = curve.points.iter().map(|(q, us)| (nines(*q), us.max(1.0)));
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))
                .map_err(failed)?
                .label(&curve.of)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 1), (x + 12, y + 1)], colour.filled())
                });
        }
        legend(&mut chart)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn legend<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
) -> Result<(), Fault>
where
    X: Ranged<ValueType = f64> + 'a,
    Y: Ranged<ValueType = f64> + 'a,
{
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .map_err(failed)
}

fn distinct<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if !found.contains(name) {
            found.push(name.clone());
        }
    }
    found
}

/// Colours that stay apart for the colour-blind.
fn colour(index: usize) -> RGBColor {
    COLOURS.get(index % COLOURS.len()).copied().unwrap_or(BLACK)
}

fn failed(error: impl std::fmt::Display) -> Fault {
    Fault::new(format!("figure: {error}"), "")
}

const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const SIZE: (u32, u32) = (860, 420);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_name_what_they_show() {
        let bar = |group: &str, of: &str, value| Bar { group: group.into(), of: of.into(), value };
        let all = [
            bar("relay", "trunkline", 3.0),
            bar("relay", "rtpengine", 9.5),
            bar("cm80-in", "trunkline", 4.0),
        ];
        let svg = bars(&all, "us of CPU per packet").unwrap();
        for word in ["relay", "cm80-in", "trunkline", "rtpengine", "us of CPU per packet"] {
            assert!(svg.contains(word), "{word} is missing");
        }
        assert!(svg.matches("<rect").count() >= 3 + 2);
        assert!(bars(&[], "us").is_ok(), "nothing to draw is drawn");
    }

    #[test]
    fn percentiles_are_spaced_by_nines() {
        let curve = Curve { of: "ours".into(), points: vec![(0.5, 90.0), (0.999, 400.0)] };
        let svg = curves(&[curve]).unwrap();
        assert!(svg.contains("99.9 %") && svg.contains("ours"), "{svg}");
    }
}
