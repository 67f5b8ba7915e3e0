//! The time of a build's source: the field `Date` of its .changes, which dpkg-genchanges takes from the changelog, so that
//! all builds of a source have the same.

/// The time that a .changes states, in seconds since 1970. None unless it has one field `Date`, as dpkg writes it: a build
/// may state anything.
pub fn of_changes(text: &str) -> Option<u64> {
    // What follows an empty line is not the .changes any more.
    let paragraph = text.lines().take_while(|line| !line.trim_end().is_empty());
    let mut dates = paragraph.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then_some(value)
    });
    let date = dates.next()?;
    match dates.next() {
        Some(_) => None,
        None => seconds(date.trim()),
    }
}

/// `Mon, 23 Nov 2026 09:00:00 +0000` (RFC 5322, and Debian Policy section 4.4) as seconds since 1970. None of an earlier
/// time, and of any other form.
fn seconds(date: &str) -> Option<u64> {
    let words: Vec<&str> = date.split_ascii_whitespace().take(7).collect();
    let [weekday, day, month, year, time, zone] = words.as_slice() else {
        return None;
    };
    let weekdays = ["Mon,", "Tue,", "Wed,", "Thu,", "Fri,", "Sat,", "Sun,"];
    weekdays.contains(weekday).then_some(())?;
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months.iter().position(|name| name == month)? as i64 + 1;
    let (day, year) = (number(day, 1..=2)?, number(year, 4..=4)?);
    (1..=days_in(year, month)).contains(&day).then_some(())?;

    let parts: Vec<&str> = time.split(':').collect();
    let [hours, minutes, seconds] = parts.as_slice() else {
        return None;
    };
    let (hours, minutes, seconds) = (number(hours, 2..=2)?, number(minutes, 2..=2)?, number(seconds, 2..=2)?);
    // A leap second counts as the next one.
    (hours < 24 && minutes < 60 && seconds <= 60).then_some(())?;

    let (sign, offset) = match zone.split_at_checked(1)? {
        ("+", offset) => (1, offset),
        ("-", offset) => (-1, offset),
        _ => return None,
    };
    let offset = number(offset, 4..=4)?;
    let (ahead_hours, ahead_minutes) = (offset / 100, offset % 100);
    (ahead_hours < 24 && ahead_minutes < 60).then_some(())?;

    let local = days(year, month, day) * 86_400 + hours * 3600 + minutes * 60 + seconds;
    u64::try_from(local - sign * (ahead_hours * 3600 + ahead_minutes * 60)).ok()
}

/// Digits and nothing else, so many of them.
fn number(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let plain = length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the first of January 1970, in the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    // 719,162 days from the year 1 to 1970.
    let years = before * 365 + before / 4 - before / 100 + before / 400 - 719_162;
    let months: i64 = (1..month).map(|earlier| days_in(year, earlier)).sum();
    years + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_as_the_program_date_reads_it() {
        for (date, expected) in [
            ("Mon, 23 Nov 2026 09:00:00 +0000", 1_795_424_400),
            ("Thu, 01 Jan 1970 00:00:00 +0000", 0),
            ("Thu, 1 Jan 1970 01:30:00 +0130", 0),
            ("Thu, 29 Feb 2024 23:59:59 -0330", 1_709_263_799),
            ("Sat, 01 Mar 2025 00:00:00 +0000", 1_740_787_200),
            ("Tue, 01 Feb 2106 00:00:00 +1400", 4_294_375_200),
        ] {
            assert_eq!(seconds(date), Some(expected), "{date}");
        }
    }

    #[test]
    fn every_day_of_four_hundred_years_follows_the_one_before() {
        let mut expected = 0;
        for year in 1970..2370 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month) {
                    assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
    }

    #[test]
    fn what_dpkg_does_not_write_is_no_date() {
        for date in [
            "",
            "now",
            "Mon, 23 Nov 2026 09:00:00",
            "23 Nov 2026 09:00:00 +0000",
            "Mon, 23 Nov 2026 09:00:00 UTC",
            "Mon, 23 Nov 2026 09:00:00 +0000 x",
            "Mon, 31 Nov 2026 09:00:00 +0000",
            "Sun, 29 Feb 2026 09:00:00 +0000",
            "Mon, 0 Nov 2026 09:00:00 +0000",
            "Mon, 23 nov 2026 09:00:00 +0000",
            "Mon, 23 Nov 26 09:00:00 +0000",
            "Mon, 23 Nov 12026 09:00:00 +0000",
            "Mon, 23 Nov 2026 24:00:00 +0000",
            "Mon, 23 Nov 2026 9:00:00 +0000",
            "Mon, 23 Nov 2026 09:00:61 +0000",
            "Mon, 23 Nov 2026 09:00:00 +0060",
            "Mon, 23 Nov 2026 09:00:00 0000",
            "Mon, 23 Nov 2026 09:00:00 \u{20ac}100",
            "Mon, -3 Nov 2026 09:00:00 +0000",
            "Wed, 31 Dec 1969 23:59:59 +0000",
            "Thu, 01 Jan 0000 00:00:00 +0000",
        ] {
            assert_eq!(seconds(date), None, "{date}");
        }
    }

    #[test]
    fn the_date_of_a_changes_file_is_its_one_field() {
        let changes = "Format: 1.8\nDate: Mon, 23 Nov 2026 09:00:00 +0000\nChanges:\n Date: none\n";
        assert_eq!(of_changes(changes), Some(1_795_424_400));
        assert_eq!(
            of_changes(&changes.replace("Date: Mon", "DATE:Mon")),
            Some(1_795_424_400)
        );
        let twice = format!("{changes}Date: Mon, 23 Nov 2026 09:00:01 +0000\n");
        assert_eq!(of_changes(&twice), None);
        let elsewhere = "Format: 1.8\n\nDate: Mon, 23 Nov 2026 09:00:00 +0000\n";
        assert_eq!(of_changes(elsewhere), None);
        assert_eq!(of_changes(""), None);
    }
}
