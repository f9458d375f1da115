//! Charts of measurements: lines, bars, and a roofline.

use super::{GRID, SIZE};
use plotters::coord::Shift;
use plotters::prelude::*;

/// Colours of series and groups; they repeat.
const COLOURS: [RGBColor; 5] = [
    RGBColor(31, 97, 160),
    RGBColor(205, 92, 26),
    RGBColor(70, 140, 70),
    RGBColor(130, 80, 160),
    RGBColor(120, 120, 120),
];

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its label in the legend.
    pub name: String,
    /// `(x, y)`.
    pub points: Vec<(f64, f64)>,
}

/// A bar of a chart.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Its label.
    pub name: String,
    /// Its length, in the chart's unit.
    pub value: f64,
    /// Index of its colour.
    pub group: usize,
}

/// A matrix product of a roofline chart.
#[derive(Clone, Debug)]
pub struct Roof {
    /// Its label.
    pub name: String,
    /// Arithmetic intensity in FLOP per byte.
    pub intensity: f64,
    /// Throughput in GFLOP/s.
    pub gflops: f64,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws each series as a line with dots; both axes start at 0.
pub fn lines_svg(title: &str, along: &str, up: &str, series: &[Series]) -> Result<String, String> {
    let points = || series.iter().flat_map(|s| &s.points);
    let right = points().map(|p| p.0).fold(1.0, f64::max);
    let high = points().map(|p| p.1).fold(f64::MIN_POSITIVE, f64::max) * 1.1;
    picture(|area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 22))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..right, 0.0..high)
            .map_err(message)?;
        mesh(chart.configure_mesh().x_desc(along).y_desc(up))?;
        for (i, s) in series.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            chart
                .draw_series(LineSeries::new(s.points.iter().copied(), colour.stroke_width(2)).point_size(3))
                .map_err(message)?
                .label(&s.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .label_font(("sans-serif", 15))
            .background_style(WHITE.mix(0.85))
            .border_style(GRID)
            .draw()
            .map_err(message)
    })
}

/// Draws horizontal bars, one below the other, each with its name and value.
pub fn bars_svg(title: &str, along: &str, bars: &[Bar]) -> Result<String, String> {
    let longest = bars.iter().map(|b| b.value).fold(f64::MIN_POSITIVE, f64::max) * 1.12;
    let rows = bars.len().max(1) as f64;
    picture(|area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 22))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(260)
            .build_cartesian_2d(0.0..longest, 0.0..rows)
            .map_err(message)?;
        mesh(chart.configure_mesh().disable_y_mesh().y_labels(0).x_desc(along))?;
        let top = |i: usize| rows - i as f64;
        let rectangles = bars.iter().enumerate().map(|(i, b)| {
            let colour = COLOURS[b.group % COLOURS.len()].mix(0.85).filled();
            Rectangle::new([(0.0, top(i) - 0.15), (b.value, top(i) - 0.85)], colour)
        });
        chart.draw_series(rectangles).map_err(message)?;
        let values = bars.iter().enumerate().map(|(i, b)| {
            Text::new(format!(" {:.1}", b.value), (b.value, top(i) - 0.35), ("sans-serif", 14))
        });
        chart.draw_series(values).map_err(message)?;
        // Names are in the margin, outside the coordinates of the chart.
        for (i, b) in bars.iter().enumerate() {
            let (_, y) = chart.backend_coord(&(0.0, top(i) - 0.35));
            area.draw(&Text::new(b.name.clone(), (20, y), ("sans-serif", 14))).map_err(message)?;
        }
        Ok(())
    })
}

/// Draws products over their arithmetic intensity, with the machine's limit in GFLOP/s if it is known.
pub fn roofline_svg(title: &str, limit: Option<f64>, products: &[Roof]) -> Result<String, String> {
    let right = products.iter().map(|p| p.intensity).fold(1.0, f64::max) * 1.3;
    let high = products.iter().map(|p| p.gflops).chain(limit).fold(f64::MIN_POSITIVE, f64::max) * 1.15;
    picture(|area| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, ("sans-serif", 22))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..right, 0.0..high)
            .map_err(message)?;
        mesh(chart.configure_mesh().x_desc("FLOP a byte").y_desc("GFLOP/s"))?;
        if let Some(limit) = limit {
            let line = LineSeries::new([(0.0, limit), (right, limit)], COLOURS[1].stroke_width(2));
            chart.draw_series(line).map_err(message)?;
            let words = format!("limit of this machine: {limit:.0}");
            let text = Text::new(words, (right * 0.01, limit * 1.05), ("sans-serif", 15));
            chart.draw_series([text]).map_err(message)?;
        }
        let dots = products.iter().map(|p| Circle::new((p.intensity, p.gflops), 4, COLOURS[0].filled()));
        chart.draw_series(dots).map_err(message)?;
        // Labels of similar intensity would overlap: each is drawn a step lower.
        let names = products.iter().enumerate().map(|(i, p)| {
            let share = limit.map_or(String::new(), |l| format!(", {:.0} %", 100.0 * p.gflops / l));
            let below = p.gflops - high * 0.035 * (1 + i % 4) as f64;
            Text::new(format!("{}{share}", p.name), (p.intensity + right * 0.01, below), ("sans-serif", 14))
        });
        chart.draw_series(names).map_err(message)?;
        Ok(())
    })
}

fn picture(draw: impl FnOnce(&Area<'_>) -> Result<(), String>) -> Result<String, String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(message)?;
    draw(&area)?;
    area.present().map_err(message)?;
    drop(area);
    Ok(svg)
}

fn mesh<X, Y, XT, YT>(
    style: &mut plotters::chart::MeshStyle<'_, '_, X, Y, SVGBackend<'_>>,
) -> Result<(), String>
where
    X: plotters::coord::ranged1d::Ranged<ValueType = XT> + plotters::coord::ranged1d::ValueFormatter<XT>,
    Y: plotters::coord::ranged1d::Ranged<ValueType = YT> + plotters::coord::ranged1d::ValueFormatter<YT>,
{
    style
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 17))
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .draw()
        .map_err(message)
}

fn message(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_show_labels_and_values() {
        let series = [Series { name: "tiny".to_owned(), points: vec![(1.0, 4.0), (2.0, 5.0)] }];
        let lines = lines_svg("steps", "step", "ms", &series).unwrap();
        let bars = [("all on", 4.0, 0), ("no fusion", 6.5, 1)].map(|(name, value, group)| Bar {
            name: name.to_owned(),
            value,
            group,
        });
        let bars = bars_svg("switches", "ms", &bars).unwrap();
        let products = [Roof { name: "up".to_owned(), intensity: 200.0, gflops: 90.0 }];
        let roof = roofline_svg("products", Some(120.0), &products).unwrap();
        for (svg, words) in [
            (&lines, &["steps", "ms", "tiny"][..]),
            (&bars, &["switches", "all on", "no fusion", "6.5"]),
            (&roof, &["FLOP a byte", "GFLOP/s", "up, 75 %", "limit of this machine: 120"]),
        ] {
            assert!(svg.contains("<svg") && svg.contains("</svg>") && !svg.contains("NaN"));
            for word in words {
                assert!(svg.contains(word), "{word} is missing in {svg}");
            }
        }
    }

    #[test]
    fn a_chart_without_data_is_drawn() {
        assert!(lines_svg("", "", "", &[]).is_ok());
        assert!(bars_svg("", "", &[]).is_ok());
        assert!(roofline_svg("", None, &[]).is_ok());
    }
}
