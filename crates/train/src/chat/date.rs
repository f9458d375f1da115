//! `strftime_now`: the current time in the format of C's `strftime`, in UTC.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Formats `time`; the error is the directive that is not known.
pub(super) fn format(time: SystemTime, format: &str) -> Result<String, String> {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = ((seconds / 86400) as i64, seconds % 86400);
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let month_name = MONTHS[month as usize - 1];
    // 1970-01-01 was a Thursday.
    let day_name = DAYS[(days + 4).rem_euclid(7) as usize];
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = rest.next().unwrap_or('%');
        let padded = directive != '-';
        if !padded {
            directive = rest.next().unwrap_or('-');
        }
        let two = |number: u64| if padded { format!("{number:02}") } else { number.to_string() };
        let text = match directive {
            'Y' => year.to_string(),
            'y' => two(year.rem_euclid(100) as u64),
            'm' => two(month),
            'd' => two(day),
            'e' => format!("{day:2}"),
            'B' => month_name.to_owned(),
            'b' | 'h' => month_name[..3].to_owned(),
            'A' => day_name.to_owned(),
            'a' => day_name[..3].to_owned(),
            'H' => two(hour),
            'I' => two((hour + 11) % 12 + 1),
            'M' => two(minute),
            'S' => two(second % 60),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'j' => format!("{:03}", days - first_day(year) + 1),
            'F' => format!("{year}-{month:02}-{day:02}"),
            'T' => format!("{hour:02}:{minute:02}:{:02}", second % 60),
            'Z' | 'z' => String::new(),
            '%' => "%".to_owned(),
            other => return Err(format!("%{other}")),
        };
        // Writing to a string cannot fail.
        let _ = out.write_str(&text);
    }
    Ok(out)
}

/// Year, month and day of a day that is counted from 1970-01-01.
///
/// Years are counted from March, so that the leap day is the last one; 400 years have 146097 days.
fn civil(days: i64) -> (i64, u64, u64) {
    let from_march = days + 719_468;
    let (era, day) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month as u64, of_month as u64)
}

/// The day on which `year` begins, counted from 1970-01-01.
fn first_day(year: i64) -> i64 {
    let before = year - 1;
    365 * (year - 1970) + (before.div_euclid(4) - 492) - (before.div_euclid(100) - 19)
        + (before.div_euclid(400) - 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn days_are_those_of_the_calendar() {
        // Of Python: `datetime.fromtimestamp(t, timezone.utc).strftime(…)`.
        for (seconds, want) in [
            (0, "Thursday 01 January 1970, day 001, 12:00:00 AM"),
            (951_827_696, "Tuesday 29 February 2000, day 060, 12:34:56 PM"),
            (1_709_251_199, "Thursday 29 February 2024, day 060, 11:59:59 PM"),
            (1_798_761_599, "Thursday 31 December 2026, day 365, 11:59:59 PM"),
            (4_107_542_400, "Monday 01 March 2100, day 060, 12:00:00 AM"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            let got = format(time, "%A %d %B %Y, day %j, %I:%M:%S %p").expect("known directives");
            assert_eq!(got, want, "{seconds}");
        }
        let time = UNIX_EPOCH + Duration::from_secs(1_709_251_199);
        assert_eq!(
            format(time, "%-d %b %y %F %T 100 %%").as_deref(),
            Ok("29 Feb 24 2024-02-29 23:59:59 100 %")
        );
        assert_eq!(format(time, "%Q").unwrap_err(), "%Q");
    }
}
