//! What came of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::Plan;
use crate::tally::{STAGES, Tally};

pub struct Report {
    pub broker: &'static str,
    pub plan: Plan,
    /// How often which process ended how.
    pub kills: BTreeMap<String, usize>,
    pub redeliveries: usize,
    pub recognised: usize,
    pub tally: Tally,
    pub took: Duration,
    /// From the last kill to the last effect.
    pub drain: Duration,
    pub dead_letters: u64,
}

impl Report {
    /// Processes that came to an end.
    pub fn ends(&self) -> usize {
        self.kills.values().sum()
    }

    /// Jobs that are not through.
    pub fn lost(&self) -> u64 {
        self.plan.jobs - self.tally.done.len() as u64
    }

    /// Effects beyond one for each job and stage.
    pub fn applied_twice(&self) -> u64 {
        let over = |effects: &u64| effects.saturating_sub(self.plan.jobs);
        self.tally.effects.iter().map(over).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "chaos with {}, seed {}", self.broker, self.plan.seed)?;
        writeln!(f, "  jobs           {}", self.plan.jobs)?;
        writeln!(f, "  ends           {}", self.ends())?;
        for (how, count) in &self.kills {
            writeln!(f, "    {count:4} {how}")?;
        }
        writeln!(
            f,
            "  redeliveries   {} ({} recognised)",
            self.redeliveries, self.recognised
        )?;
        writeln!(f, "  took           {:.1} s", self.took.as_secs_f64())?;
        writeln!(f, "  drained after  {:.1} s", self.drain.as_secs_f64())?;
        for (stage, effects) in STAGES.iter().zip(self.tally.effects) {
            writeln!(f, "  {stage}         {effects} effects")?;
        }
        writeln!(f, "  dead letters   {}", self.dead_letters)?;
        writeln!(f, "  lost           {}", self.lost())?;
        write!(f, "  applied twice  {}", self.applied_twice())
    }
}
