//! The option `--interval`.

use std::time::Duration;

/// A number of seconds, or `90s`, `5m`, `1h`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, text.get(number.len()..).unwrap_or_default()),
        None => (text, "s"),
    };
    let scale = match unit {
        "h" => 3600,
        "m" => 60,
        _ => 1,
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)) {
        Some(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!(
            "--interval {text}: not a length of time (a number of seconds, or 90s, 5m, 1h)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn units_are_seconds_minutes_and_hours() {
        let seconds = |text| parse(text).map(|interval| interval.as_secs());
        assert_eq!(seconds("30"), Ok(30));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("1h"), Ok(3600));
        for wrong in ["", "0", "-1", "x", "1d", "s", "99999999999999999999h"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
