//! Charts in SVG: the loss of a run, and results of measurements.

mod chart;
mod loss;

pub use chart::{Bar, Roof, Series, bars_svg, lines_svg, roofline_svg};
pub use loss::loss_svg;

use crate::error::CommandError;
use plotters::prelude::RGBColor;

const SIZE: (u32, u32) = (960, 540);
const GRID: RGBColor = RGBColor(226, 226, 226);

/// Converts a chart's error to the one that the user sees.
pub fn drawn(svg: Result<String, String>) -> Result<String, CommandError> {
    svg.map_err(|e| CommandError::failure(format!("the result cannot be drawn: {e}")))
}
