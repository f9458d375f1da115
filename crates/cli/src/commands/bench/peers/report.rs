//! The line that a program prints about its steps, and the numbers that show which steps they were.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A model that every program can train.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// One layer: dim 768, 512 tokens
    Layer768,
    /// 12 layers: dim 768, 256 tokens
    Stories110m,
    /// 6 layers: dim 288, 256 tokens
    Stories15m,
}

impl Model {
    /// Its name as a preset.
    pub fn name(self) -> &'static str {
        match self {
            Model::Layer768 => "layer768",
            Model::Stories110m => "stories110m",
            Model::Stories15m => "stories15m",
        }
    }

    /// Its letter in `benches/peers`.
    pub fn workload(self) -> &'static str {
        match self {
            Model::Layer768 => "A",
            Model::Stories110m => "B",
            Model::Stories15m => "C",
        }
    }

    /// First loss, norm of the first gradient and fourth loss, which PyTorch 2.15, JAX 0.10.2, candle 0.11.1 and burn
    /// 0.22.1 agree on in fp32, to these digits.
    fn numbers(self) -> [f64; 3] {
        match self {
            Model::Layer768 => [-1.132328, 16.54098, -10.58510],
            Model::Stories110m => [10.591151, 7.37573, 9.01395],
            Model::Stories15m => [10.417234, 3.73057, 9.95690],
        }
    }
}

/// The largest relative difference of a number in fp32: fp16 storage moves ours by 3e-4, and MLX's sum over a large array is
/// off by 5e-4.
const CLOSE: f64 = 1e-3;
/// The same for bf16, whose 8 bits move the first loss of layer768, a sum of terms of both signs, by 1.6e-3.
const CLOSE_BF16: f64 = 5e-3;

/// What a program measured in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The median step, in ms.
    pub median_ms: f64,
    /// The shortest step, in ms.
    pub min_ms: f64,
    /// The most memory that the process has had, in MiB; 0 where the system does not say.
    pub mib: u64,
    /// The version of the program, where it says it.
    pub version: Option<String>,
    threads: usize,
    loss0: f64,
    gradient_norm: f64,
    loss3: f64,
}

impl Report {
    /// Reads the last line of a program's output: `workload peer dtype threads median_ms # key value … ok`.
    ///
    /// # Errors
    /// A sentence with the line, if it is none.
    pub fn parse(output: &str) -> Result<Report, String> {
        let line = output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Report::read(line).ok_or_else(|| format!("`{}` is no line of a measurement", line.trim()))
    }

    fn read(line: &str) -> Option<Report> {
        let (head, rest) = line.split_once('#')?;
        let [_, _, _, threads, median] = head.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        let pairs: Vec<&str> = rest.split_whitespace().collect();
        let text = |key: &str| pairs.chunks_exact(2).find(|pair| pair[0] == key).map(|pair| pair[1]);
        let number = |key: &str| text(key)?.parse().ok();
        let time = |ms: f64| (ms.is_finite() && ms > 0.0).then_some(ms);
        Some(Report {
            median_ms: time(median.parse().ok()?)?,
            min_ms: time(number("min")?)?,
            mib: text("MiB")?.parse().ok()?,
            version: text("version").map(str::to_owned),
            threads: threads.parse().ok()?,
            loss0: number("loss0")?,
            gradient_norm: number("gnorm")?,
            loss3: number("loss3")?,
        })
    }

    /// Checks that the program trained `model` on `threads` threads.
    ///
    /// # Errors
    /// A sentence with both sides.
    pub fn check(&self, model: Model, bf16: bool, threads: usize) -> Result<(), String> {
        if self.threads != threads {
            return Err(format!("it ran on {} threads, not on {threads}", self.threads));
        }
        let close = if bf16 { CLOSE_BF16 } else { CLOSE };
        let got = [self.loss0, self.gradient_norm, self.loss3];
        let names = ["first loss", "norm of the first gradient", "fourth loss"];
        for ((name, got), want) in names.into_iter().zip(got).zip(model.numbers()) {
            // Written so that NaN is not close.
            let is_close = (got / want - 1.0).abs() <= close;
            if !is_close {
                return Err(format!("its {name} is {got}, that of the others {want}: it is another step"));
            }
        }
        Ok(())
    }
}

/// The median, of two in the middle their mean; `None` of none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(0.5 * (values[middle - 1] + values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "A torch-compile+mklfix fp32 2 98.46  # min 97.04 n 15 MiB 927 version 2.15.0 \
        loss0 -1.132328 gnorm 16.540979 loss3 -10.585104 ok";

    #[test]
    fn the_last_line_is_read() {
        let report = Report::parse(&format!("warning: x\n{LINE}\n\n")).unwrap();
        assert_eq!((report.median_ms, report.min_ms, report.mib), (98.46, 97.04, 927));
        assert_eq!(report.version.as_deref(), Some("2.15.0"));
        let older = Report::parse(&LINE.replace(" version 2.15.0", "")).unwrap();
        assert_eq!(older, Report { version: None, ..report });
        for broken in
            ["", "A torch", "# min 1", &LINE.replace("97.04", "fast"), &LINE.replace("98.46", "NaN")]
        {
            let error = Report::parse(broken).unwrap_err();
            assert_eq!(error, format!("`{broken}` is no line of a measurement"));
        }
    }

    #[test]
    fn another_step_is_told_by_its_numbers() {
        let check = |line: &str, bf16| Report::parse(line).unwrap().check(Model::Layer768, bf16, 2);
        assert_eq!(check(LINE, false), Ok(()));
        // PyTorch's bf16.
        let rounded = LINE.replace("-1.132328", "-1.134116");
        assert_eq!(check(&rounded, true), Ok(()));
        assert_eq!(
            check(&rounded, false).unwrap_err(),
            "its first loss is -1.134116, that of the others -1.132328: it is another step"
        );
        for (old, new, name) in [
            ("16.540979", "16.9", "norm of the first gradient is 16.9"),
            ("-10.585104", "NaN", "fourth loss is NaN"),
            ("-10.585104", "10.585104", "fourth loss is 10.585104"),
        ] {
            let error = check(&LINE.replace(old, new), true).unwrap_err();
            assert!(error.starts_with(&format!("its {name}")), "{error}");
        }
        let error = Report::parse(LINE).unwrap().check(Model::Layer768, false, 1).unwrap_err();
        assert_eq!(error, "it ran on 2 threads, not on 1");
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 9.0]), Some(3.0));
        assert_eq!(median(vec![3.0, 1.0]), Some(2.0));
    }
}
