//! What was measured, as a table for people, as JSON for programs, and beside what was to be reached.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::measure::Cost;

/// What one contender's repository of one size cost.
pub struct Measured {
    pub bulk: Cost,
    pub one: Repeated,
    pub ten: Repeated,
    pub same: Repeated,
}

/// Something that was done again and again.
pub struct Repeated {
    pub times: usize,
    pub median: Cost,
}

pub enum Outcome {
    Measured(Measured),
    /// Why it was not measured.
    Skipped(String),
}

struct Row {
    size: usize,
    name: &'static str,
    outcome: Outcome,
}

/// All rows, in the order of their measurement.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

const HEAD: &str =
    "| packages | program | bulk | one more | ten more | no change | peak memory |\n|---|---|---|---|---|---|---|\n";

impl Measured {
    fn peak(&self) -> u64 {
        let repeated = [&self.one, &self.ten, &self.same].map(|repeated| repeated.median.peak);
        repeated.into_iter().fold(self.bulk.peak, u64::max)
    }
}

impl Report {
    /// Take a row, and say so: the next one may take minutes.
    pub fn add(&mut self, size: usize, name: &'static str, outcome: Outcome) {
        let row = Row { size, name, outcome };
        eprint!("{}", row.markdown());
        self.rows.push(row);
    }

    /// How long a contender's bulk would take, by what a smaller one took; none if nothing is known.
    pub fn expected_bulk(&self, name: &str, size: usize) -> Option<Duration> {
        let before = self.rows.iter().rev().filter(|row| row.name == name);
        let mut measured = before.filter_map(|row| Some((row.size, row.measured()?.bulk.time)));
        let (smaller, time) = measured.next()?;
        Some(time.mul_f64(size as f64 / smaller as f64))
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let rows: String = self.rows.iter().map(Row::markdown).collect();
        format!("{HEAD}{rows}\n{}", self.goals())
    }

    /// For programs.
    pub fn json(&self) -> Value {
        self.rows.iter().map(Row::json).collect()
    }

    fn measured(&self, size: usize, name: &str) -> Option<&Measured> {
        let mut rows = self.rows.iter().filter(|row| row.size == size && row.name == name);
        rows.next()?.measured()
    }

    /// How near the goals are, as far as both sides of each were measured.
    fn goals(&self) -> String {
        let one = |size, name| Some(self.measured(size, name)?.one.median.time);
        let bulk = |size, name| Some(self.measured(size, name)?.bulk.time);
        let goals = [
            (
                "one more into 10,000, as a part of reprepro's time (goal: at most 0.33)",
                one(10_000, "distbot").zip(one(10_000, "reprepro")),
            ),
            (
                "one more into 100,000, as a multiple of the time for 10,000 (goal: at most 2)",
                one(100_000, "distbot").zip(one(10_000, "distbot")),
            ),
            (
                "bulk of 10,000, as a part of aptly's time (goal: less than 1)",
                bulk(10_000, "distbot").zip(bulk(10_000, "aptly")),
            ),
        ];
        let mut text = String::new();
        for (goal, times) in goals {
            if let Some((ours, other)) = times {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{goal}: {:.2}", ours.as_secs_f64() / other.as_secs_f64());
            }
        }
        text
    }
}

impl Row {
    fn measured(&self) -> Option<&Measured> {
        match &self.outcome {
            Outcome::Measured(measured) => Some(measured),
            Outcome::Skipped(_) => None,
        }
    }

    fn markdown(&self) -> String {
        let measured = match &self.outcome {
            Outcome::Measured(measured) => measured,
            Outcome::Skipped(why) => return format!("| {} | {} | skipped: {why} | | | | |\n", self.size, self.name),
        };
        let repeated = |repeated: &Repeated| format!("{} ({}x)", seconds(repeated.median), repeated.times);
        format!(
            "| {} | {} | {} | {} | {} | {} | {} MB |\n",
            self.size,
            self.name,
            seconds(measured.bulk),
            repeated(&measured.one),
            repeated(&measured.ten),
            repeated(&measured.same),
            measured.peak() / 1024
        )
    }

    fn json(&self) -> Value {
        let mut row = json!({ "packages": self.size, "program": self.name });
        let fields = match &self.outcome {
            Outcome::Measured(measured) => json!({
                "bulkSeconds": measured.bulk.time.as_secs_f64(),
                "oneMore": measured.one.json(),
                "tenMore": measured.ten.json(),
                "noChange": measured.same.json(),
                "peakKilobytes": measured.peak(),
            }),
            Outcome::Skipped(why) => json!({ "skipped": why }),
        };
        if let (Value::Object(row), Value::Object(fields)) = (&mut row, fields) {
            row.extend(fields);
        }
        row
    }
}

impl Repeated {
    fn json(&self) -> Value {
        json!({ "medianSeconds": self.median.time.as_secs_f64(), "times": self.times })
    }
}

fn seconds(cost: Cost) -> String {
    format!("{:.3} s", cost.time.as_secs_f64())
}
