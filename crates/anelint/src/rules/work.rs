//! Multiplications and additions of a text, if sizes are known.

use super::subject::{FunctionIndex, OpCall};

impl OpCall<'_, '_> {
    /// Operations of a product or convolution, two for each multiply-add; `None` if a size is not known.
    pub(super) fn work(&self) -> Option<u64> {
        let out = self.out()?.elements()?;
        let each = match self.statement.op.text {
            "conv" => {
                let weight = self.shape("weight")?;
                weight.elements()?.checked_div(weight.dim(0)?)?
            }
            "linear" => self.shape("weight")?.last()?,
            // Two products; queries are assumed to be as long as values.
            "scaled_dot_product_attention" => self.shape("key")?.axis(-2)?.checked_mul(2)?,
            _ => {
                let x = self.shape("x")?;
                x.axis(if self.flag("transpose_x").unwrap_or(false) { -2 } else { -1 })?
            }
        };
        Some((out as u64).saturating_mul(each as u64).saturating_mul(2))
    }
}

impl FunctionIndex<'_> {
    /// Operations of all products and convolutions; `None` if a size is not known.
    pub(super) fn work(&self) -> Option<u64> {
        let counted = ["conv", "linear", "matmul", "scaled_dot_product_attention"];
        let mut calls = counted.into_iter().flat_map(|op| self.each(op));
        calls.try_fold(0u64, |n, call| Some(n.saturating_add(call.work()?)))
    }
}
