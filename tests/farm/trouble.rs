//! What befalls a machine: its line is cut or loses packets, its host stands still.

use rustix::process::{Pid, Signal, kill_process};

use crate::machine::Machine;
use crate::package::run;

/// What is wrong with a machine's line.
#[derive(Debug, Clone, Copy)]
pub enum Line {
    /// Nothing passes.
    Cut,
    /// Nothing comes in.
    Deaf,
    /// Nothing goes out.
    Mute,
    /// So many packets of a hundred are lost, each way.
    Lossy(u8),
}

impl Machine {
    /// From now on its line is like that, until it is mended. Nobody is told: packets disappear.
    pub fn line(&self, fault: Line) {
        let (come, go) = (["INPUT", "-i"], ["OUTPUT", "-o"]);
        let ways: &[[&str; 2]] = match fault {
            Line::Cut | Line::Lossy(_) => &[come, go],
            Line::Deaf => &[come],
            Line::Mute => &[go],
        };
        for [chain, direction] in ways {
            let mut rule = self.command("iptables");
            rule.args(["-w", "-A", chain, direction, "eth0"]);
            if let Line::Lossy(percent) = fault {
                let share = format!("{:.2}", f64::from(percent) / 100.0);
                rule.args(["-m", "statistic", "--mode", "random", "--probability", &share]);
            }
            run(rule.args(["-j", "DROP"]));
        }
    }

    /// Its line is good again.
    pub fn mend(&self) {
        run(self.command("iptables").args(["-w", "-F"]));
    }

    /// Its host stands still, with all connections open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Its host goes on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.process().cast_signed()).unwrap(), signal).unwrap();
    }
}
