//! `loss.svg`: the loss of a run over its steps.

use super::{GRID, SIZE};
use crate::progress::Smooth;
use plotters::coord::Shift;
use plotters::prelude::*;
use train::run::{StepRecord, Validation};

const RAW: RGBColor = RGBColor(168, 196, 224);
const SMOOTHED: RGBColor = RGBColor(31, 97, 160);
const VALIDATED: RGBColor = RGBColor(205, 92, 26);

/// Draws training loss, raw and smoothed, and validation loss over steps; `None` if there is nothing to draw.
///
/// `unit` is that of the loss. Losses that are not finite leave gaps.
pub fn loss_svg(
    title: &str,
    unit: &str,
    steps: &[StepRecord],
    validations: &[Validation],
) -> Result<Option<String>, String> {
    let raw: Vec<(f64, f64)> = finite(steps.iter().map(|s| (s.step, s.loss)));
    let validated: Vec<(f64, f64)> = finite(validations.iter().map(|v| (v.step, v.loss)));
    let smoothed = smoothed(&raw);

    // Outliers must not flatten the curve: the lowest and highest 1 % of steps, but not the first, may be clipped.
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut losses: Vec<f64> = raw.iter().map(|p| p.1).collect();
    losses.sort_by(f64::total_cmp);
    let outside = losses.len() / 100;
    let inside = &losses[outside..losses.len() - outside];
    let seen = smoothed.iter().chain(&validated).chain(raw.first()).map(|p| &p.1);
    for &loss in seen.chain(inside) {
        (low, high) = (low.min(loss), high.max(loss));
    }
    let last = raw.iter().chain(&validated).map(|p| p.0).fold(1.0, f64::max);
    if low > high {
        return Ok(None);
    }
    let margin = ((high - low) * 0.06).max(high.abs() * 1e-3).max(1e-9);
    let (low, high) = (low - margin, high + margin);

    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let clipped: Vec<_> = raw.into_iter().map(|(step, loss)| (step, loss.clamp(low, high))).collect();
    draw(&area, title, unit, (last, low..high), [&clipped, &smoothed, &validated])
        .and_then(|()| area.present().map_err(|e| e.to_string()))?;
    drop(area);
    Ok(Some(svg))
}

fn draw(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    unit: &str,
    (last, losses): (f64, std::ops::Range<f64>),
    [raw, smoothed, validated]: [&[(f64, f64)]; 3],
) -> Result<(), String> {
    let failed = |e: DrawingAreaErrorKind<_>| e.to_string();
    let digits = if losses.end - losses.start < 0.5 { 3 } else { 1 };
    area.fill(&WHITE).map_err(failed)?;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..last, losses)
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc(format!("loss, {unit}"))
        .x_labels(10)
        .y_labels(8)
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|loss| format!("{loss:.digits$}"))
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 17))
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .draw()
        .map_err(failed)?;
    let line = |colour: RGBColor, width: u32| {
        move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(width))
    };
    chart
        .draw_series(LineSeries::new(raw.iter().copied(), RAW.stroke_width(1)))
        .map_err(failed)?
        .label("training, each step")
        .legend(line(RAW, 1));
    chart
        .draw_series(LineSeries::new(smoothed.iter().copied(), SMOOTHED.stroke_width(2)))
        .map_err(failed)?
        .label("training, smoothed")
        .legend(line(SMOOTHED, 2));
    if !validated.is_empty() {
        chart
            .draw_series(LineSeries::new(validated.iter().copied(), VALIDATED.stroke_width(1)))
            .map_err(failed)?;
        chart
            .draw_series(validated.iter().map(|&point| Circle::new(point, 4, VALIDATED.filled())))
            .map_err(failed)?
            .label("validation")
            .legend(|(x, y)| Circle::new((x + 12, y), 4, VALIDATED.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(("sans-serif", 15))
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .draw()
        .map_err(failed)
}

/// The mean of a forward and a backward moving average, so that the curve does not lag.
fn smoothed(raw: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let (mut back, mut ahead) = (Smooth::default(), Smooth::default());
    let mut later: Vec<f64> = raw.iter().rev().map(|&(_, loss)| ahead.add(loss)).collect();
    later.reverse();
    let mean = |(&(step, loss), later): (&(f64, f64), f64)| (step, 0.5 * (back.add(loss) + later));
    raw.iter().zip(later).map(mean).collect()
}

fn finite(points: impl Iterator<Item = (u64, f64)>) -> Vec<(f64, f64)> {
    points.filter(|(_, loss)| loss.is_finite()).map(|(step, loss)| (step as f64, loss)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64, loss: f64) -> StepRecord {
        StepRecord {
            step,
            loss,
            lr: 1e-3,
            grad_norm: 1.0,
            ms: 1.0,
            tokens_per_s: 1.0,
            engine_ms: 0.5,
            host_ms: 0.5,
            convert_ms: 0.0,
            wait_ms: 0.0,
            update_ms: 0.0,
            compile_ms: 0.0,
            restart_ms: 0.0,
            dispatches: 6,
            loss_scale: None,
            skipped: false,
        }
    }

    #[test]
    fn the_chart_of_a_run_has_labels() {
        let steps: Vec<_> = (1..=50).map(|i| record(i, 5.0 - 0.05 * i as f64)).collect();
        let validations =
            [Validation { step: 50, loss: 2.7, perplexity: 14.9, bits_per_byte: Some(1.9), windows: 8 }];
        let svg = loss_svg("tiny", "nats per token", &steps, &validations).unwrap().unwrap();
        for word in ["<svg", "step", "loss, nats per token", "validation", "training, smoothed", "</svg>"] {
            assert!(svg.contains(word), "{word} is missing");
        }
    }

    #[test]
    fn losses_that_are_not_finite_are_left_out() {
        assert_eq!(loss_svg("tiny", "", &[record(1, f64::NAN)], &[]).unwrap(), None);
        let svg = loss_svg("tiny", "", &[record(1, f64::INFINITY), record(2, 3.0)], &[]).unwrap();
        assert!(svg.is_some_and(|svg| !svg.contains("NaN") && !svg.contains("inf")));
    }
}
