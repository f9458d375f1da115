//! Formatting of quantities for output.

/// `512 B`, `4.5 MiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    // 1023.95 would print as 1024.0
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 99.95);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// The bytes that `500MB`, `2GiB` or `4096` stands for; decimal prefixes are powers of 1000, `KiB` and so on of 1024.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size such as 5GB, 500MB or 2GiB");
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit: u64 = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KIB" => 1 << 10,
        "MIB" => 1 << 20,
        "GIB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes.filter(|&bytes| bytes > 0).ok_or_else(wrong)
}

/// `870`, `41.2k`, `3.6M`.
pub fn count(n: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let mut value = n;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 99.95);
    format!("{value:.digits$}{}", UNITS[unit])
}

/// `0:07`, `1:43`, `2:05:00`.
pub fn clock(seconds: f64) -> String {
    let s = if seconds.is_finite() { seconds.max(0.0).round() as u64 } else { 0 };
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, m, s) => format!("{m}:{s:02}"),
        (h, m, s) => format!("{h}:{m:02}:{s:02}"),
    }
}

/// `1 kernel`, `6 kernels`, `12 dispatches`.
pub fn plural(n: usize, noun: &str) -> String {
    let ending = match n {
        1 => "",
        _ if noun.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{n} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_round_into_the_next_unit() {
        let shown = [0, 1023, 1024, 1_048_575, 4_718_592, 150 << 20, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "4.5 MiB", "150 MiB", "16777216 TiB"]);
        for (text, want) in [("5GB", 5_000_000_000), ("500 mb", 500_000_000), ("2GiB", 2 << 30), ("7", 7)] {
            assert_eq!(parse_bytes(text), Ok(want), "{text}");
        }
        for text in ["", "GB", "0", "-1", "1.5GB", "5XB", "99999999999GB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        let shown = [0.0, 870.2, 999.96, 41_230.0, 3_600_000.0].map(count);
        assert_eq!(shown, ["0", "870", "1.0k", "41.2k", "3.6M"]);
        let shown = [0.4, 59.6, 103.0, 7500.0, f64::NAN].map(clock);
        assert_eq!(shown, ["0:00", "1:00", "1:43", "2:05:00", "0:00"]);
        assert_eq!(
            [plural(1, "dispatch"), plural(2, "dispatch"), plural(0, "token")],
            ["1 dispatch", "2 dispatches", "0 tokens"]
        );
    }
}
