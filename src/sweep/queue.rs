//! The trials that a run still has to do, shared with the runs of the same folder on other machines.
//! Each trial is taken by a lease (`gauntlet::lease`), trained, and given back.

use super::TrialFolder;
use gauntlet::data::lease::{Before, Holder, Lease, Taking};
use gauntlet::{Result, Trial};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

/// What a worker does next.
pub enum Next<'a> {
    /// Runs this trial, whose lease this run has.
    Start(Taken<'a>),
    /// Asks again after a short while.
    Wait,
    /// Ends: nothing is left that this run may do.
    Done,
}

/// A trial of this run, and the right to write to its folder.
pub struct Taken<'a> {
    pub trial: &'a Trial,
    pub lease: Lease,
    pub before: Before,
}

/// The trials that are not finished.
pub struct Queue<'a> {
    out: PathBuf,
    ready: VecDeque<&'a Trial>,
    /// Trials that failed before this run began, each with the number of the lease that says so.
    failed_before: BTreeMap<String, u32>,
    /// Names of trials that failed in other runs since then: they would fail here, too.
    pub failed_elsewhere: Vec<String>,
    /// Trials that wait until a folder is free, in which another process trains their undefended
    /// model.
    put_back: VecDeque<(&'a Trial, PathBuf)>,
    /// Trials that other runs have.
    elsewhere: Vec<(&'a Trial, Holder)>,
    /// Trials that others finished since this run began.
    finished_elsewhere: usize,
    started: usize,
    at_most: usize,
    waits: bool,
    /// Whether `elsewhere` was looked at since the last trial ended here.
    looked: bool,
}

impl<'a> Queue<'a> {
    /// A queue of unfinished trials. Those that failed before come last, so that processes which
    /// run few trials each get to all of them.
    pub fn new(out: PathBuf, trials: Vec<&'a Trial>, at_most: Option<usize>, waits: bool) -> Result<Queue<'a>> {
        let mut failed_before = BTreeMap::new();
        for trial in &trials {
            let failed = Lease::failed(&TrialFolder::of(&out, trial).leased)?;
            failed_before.extend(failed.map(|number| (trial.name(), number)));
        }
        let (last, first): (Vec<_>, Vec<_>) =
            trials.into_iter().partition(|trial| failed_before.contains_key(&trial.name()));
        Ok(Queue {
            out,
            ready: first.into_iter().chain(last).collect(),
            failed_before,
            failed_elsewhere: Vec::new(),
            put_back: VecDeque::new(),
            elsewhere: Vec::new(),
            finished_elsewhere: 0,
            started: 0,
            at_most: at_most.unwrap_or(usize::MAX),
            waits,
            looked: false,
        })
    }

    /// The next step of a worker.
    pub fn next(&mut self) -> Result<Next<'a>> {
        if self.started >= self.at_most {
            return Ok(Next::Done);
        }
        while let Some(trial) = self.ready.pop_front() {
            if let Some(taken) = self.take(trial)? {
                return Ok(Next::Start(taken));
            }
        }
        for _ in 0..self.put_back.len() {
            let Some((trial, folder)) = self.put_back.pop_front() else { break };
            match Lease::holder(&folder)? {
                Some(_) => self.put_back.push_back((trial, folder)),
                None => {
                    if let Some(taken) = self.take(trial)? {
                        return Ok(Next::Start(taken));
                    }
                }
            }
        }
        let ending = self.elsewhere.iter().any(|(_, holder)| holder.is_ending());
        if !self.looked || ending || self.waits {
            self.looked = true;
            for (trial, _) in std::mem::take(&mut self.elsewhere) {
                if let Some(taken) = self.take(trial)? {
                    return Ok(Next::Start(taken));
                }
            }
        }
        let waits = self.waits && !self.elsewhere.is_empty();
        let ending = self.elsewhere.iter().any(|(_, holder)| holder.is_ending());
        Ok(if ending || waits || !self.put_back.is_empty() { Next::Wait } else { Next::Done })
    }

    fn take(&mut self, trial: &'a Trial) -> Result<Option<Taken<'a>>> {
        let folder = TrialFolder::of(&self.out, trial);
        if trial.has_finished(&folder.newest()?) {
            self.finished_elsewhere += 1;
            return Ok(None);
        }
        let failed = Lease::failed(&folder.leased)?;
        if failed.is_some() && failed != self.failed_before.get(&trial.name()).copied() {
            self.failed_elsewhere.push(trial.name());
            return Ok(None);
        }
        let (lease, before) = match Lease::take(&folder.leased)? {
            Taking::Ours(lease, before) => (lease, before),
            Taking::Theirs(holder) => {
                // It may have finished since, and end its lease next.
                self.elsewhere.push((trial, holder));
                return Ok(None);
            }
        };
        // Another run may have finished it just before this one took it.
        if trial.has_finished(&folder.newest()?) {
            self.finished_elsewhere += 1;
            return Ok(None);
        }
        self.started += 1;
        self.looked = false;
        Ok(Some(Taken { trial, lease, before }))
    }

    /// Takes back a trial that needs the undefended model which another process trains in `folder`.
    pub fn put_back(&mut self, trial: &'a Trial, folder: PathBuf) {
        self.started -= 1;
        self.put_back.push_back((trial, folder));
    }

    /// Takes note that another run has taken over a trial of this one.
    pub fn lost(&mut self, trial: &'a Trial) -> Result<()> {
        self.started -= 1;
        if let Some(holder) = Lease::holder(&TrialFolder::of(&self.out, trial).leased)? {
            self.elsewhere.push((trial, holder));
        }
        Ok(())
    }

    /// Number of trials that other runs finished, or failed at, since this one began.
    pub fn ended_elsewhere(&self) -> usize {
        self.finished_elsewhere + self.failed_elsewhere.len()
    }

    /// The trials that other runs had when this one last looked, and who has them.
    pub fn elsewhere(&self) -> &[(&'a Trial, Holder)] {
        &self.elsewhere
    }
}
