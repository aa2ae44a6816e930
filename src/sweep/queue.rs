//! The trials that a run still has to do, shared with the runs of the same folder on other machines.
//! Each trial is taken by a lease (`gauntlet::lease`), trained, and given back.

use super::TrialFolder;
use gauntlet::data::lease::{Holder, Lease, Taking};
use gauntlet::{Error, Result, Trial};
use gauntlet_report::folder::Folder;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

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
}

/// The trials that are not finished.
pub struct Queue<'a> {
    out: PathBuf,
    /// `suite.json` as this run wrote it.
    suite: String,
    ready: VecDeque<&'a Trial>,
    /// Trials that failed on another machine. They are tried after all others: the fault may be
    /// that machine's.
    last: VecDeque<&'a Trial>,
    /// Trials that failed before this run began, each with the number of the lease that says so.
    failed_before: BTreeMap<String, u32>,
    /// Names of trials that failed in other runs of this machine since then: they would fail here,
    /// too.
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
    /// When to look again at what other processes have.
    next_look: Instant,
    /// Whether `elsewhere` was looked at since the last trial ended here.
    looked: bool,
}

/// Time between two looks at what other processes have; a file server serves many runs.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

impl<'a> Queue<'a> {
    /// A queue of unfinished trials. Those that failed before come last, so that processes which
    /// run few trials each get to all of them.
    pub fn new(
        out: PathBuf,
        suite: String,
        trials: Vec<&'a Trial>,
        at_most: Option<usize>,
        waits: bool,
    ) -> Result<Queue<'a>> {
        let mut failed_before = BTreeMap::new();
        for trial in &trials {
            let failed = Lease::failed(&TrialFolder::of(&out, trial).leased)?;
            failed_before.extend(failed.map(|(number, _)| (trial.name(), number)));
        }
        let (last, first): (Vec<_>, Vec<_>) =
            trials.into_iter().partition(|trial| failed_before.contains_key(&trial.name()));
        Ok(Queue {
            out,
            suite,
            ready: first.into_iter().chain(last).collect(),
            last: VecDeque::new(),
            failed_before,
            failed_elsewhere: Vec::new(),
            put_back: VecDeque::new(),
            elsewhere: Vec::new(),
            finished_elsewhere: 0,
            started: 0,
            at_most: at_most.unwrap_or(usize::MAX),
            waits,
            next_look: Instant::now(),
            looked: false,
        })
    }

    /// The next step of a worker.
    pub fn next(&mut self) -> Result<Next<'a>> {
        if self.started >= self.at_most {
            return Ok(Next::Done);
        }
        while let Some(trial) = self.ready.pop_front() {
            if let Some(taken) = self.take(trial, false)? {
                return Ok(Next::Start(taken));
            }
        }
        if Instant::now() >= self.next_look {
            if let Some(taken) = self.look()? {
                return Ok(Next::Start(taken));
            }
            self.next_look = Instant::now() + BETWEEN_LOOKS;
        }
        while let Some(trial) = self.last.pop_front() {
            if let Some(taken) = self.take(trial, true)? {
                return Ok(Next::Start(taken));
            }
        }
        let may_be_free = self.elsewhere.iter().any(|(_, holder)| holder.is_ending()) || !self.looked;
        let waits = self.waits && !self.elsewhere.is_empty();
        Ok(if may_be_free || waits || !self.put_back.is_empty() { Next::Wait } else { Next::Done })
    }

    /// Looks at the trials that wait for other processes, and takes the first that is free.
    fn look(&mut self) -> Result<Option<Taken<'a>>> {
        for _ in 0..self.put_back.len() {
            let Some((trial, folder)) = self.put_back.pop_front() else { break };
            if Lease::holder(&folder)?.is_some() {
                self.put_back.push_back((trial, folder));
            } else if let Some(taken) = self.take(trial, false)? {
                return Ok(Some(taken));
            }
        }
        for _ in 0..self.elsewhere.len() {
            let (trial, _) = self.elsewhere.remove(0);
            if let Some(taken) = self.take(trial, false)? {
                return Ok(Some(taken));
            }
        }
        self.looked = true;
        Ok(None)
    }

    /// Takes a trial, unless it is finished or another process has it. If it failed on another
    /// machine, it is put last, unless `anyway`.
    fn take(&mut self, trial: &'a Trial, anyway: bool) -> Result<Option<Taken<'a>>> {
        let folder = TrialFolder::of(&self.out, trial);
        if trial.has_finished(&folder.newest()?) {
            self.finished_elsewhere += 1;
            return Ok(None);
        }
        match Lease::failed(&folder.leased)? {
            Some((number, _)) if self.failed_before.get(&trial.name()) == Some(&number) => {}
            Some((_, true)) => {
                self.failed_elsewhere.push(trial.name());
                return Ok(None);
            }
            Some((_, false)) if !anyway => {
                self.last.push_back(trial);
                return Ok(None);
            }
            _ => {}
        }
        let lease = match Lease::take(&folder.leased)? {
            Taking::Ours(lease) => lease,
            Taking::Theirs(holder) => {
                self.elsewhere.push((trial, holder));
                return Ok(None);
            }
        };
        // Another run may have finished it just before this one took it.
        if trial.has_finished(&folder.newest()?) {
            self.finished_elsewhere += 1;
            return Ok(None);
        }
        self.check_suite(trial)?;
        self.started += 1;
        Ok(Some(Taken { trial, lease }))
    }

    /// Checks that the suite still has this trial as it is here: another run may have continued the
    /// suite with other keys.
    fn check_suite(&self, trial: &Trial) -> Result<()> {
        let path = self.out.join("suite.json");
        if std::fs::read_to_string(&path).map_err(Error::io(&path))? == self.suite {
            return Ok(());
        }
        let there = Folder::read_suite(&self.out)?.trials()?;
        match there.iter().find(|there| there.name() == trial.name()) {
            Some(there) if there == trial => Ok(()),
            _ => {
                let why = format!(
                    "another run has changed it, and {} is another trial there; run that suite, or choose another --out",
                    trial.name()
                );
                Err(Error::invalid(path.display(), why))
            }
        }
    }

    /// Takes note that a trial of this run has ended: what others had may be free by now.
    pub fn ended(&mut self) {
        self.looked = false;
    }

    /// Takes back a trial that needs the undefended model which another process trains in `folder`.
    /// Its lease must have ended.
    pub fn put_back(&mut self, trial: &'a Trial, folder: PathBuf) {
        self.started -= 1;
        self.put_back.push_back((trial, folder));
    }

    /// Takes back a trial whose lease this run has lost.
    pub fn lost(&mut self, trial: &'a Trial) {
        self.started -= 1;
        self.ready.push_back(trial);
    }

    /// Number of trials that other runs finished, or failed at, since this one began.
    pub fn ended_elsewhere(&self) -> usize {
        self.finished_elsewhere + self.failed_elsewhere.len()
    }

    /// The trials that other runs have, and who has them.
    pub fn elsewhere(&mut self) -> Result<&[(&'a Trial, Holder)]> {
        let mut left = Vec::new();
        for (trial, holder) in std::mem::take(&mut self.elsewhere) {
            match trial.has_finished(&TrialFolder::of(&self.out, trial).newest()?) {
                true => self.finished_elsewhere += 1,
                false => left.push((trial, holder)),
            }
        }
        self.elsewhere = left;
        Ok(&self.elsewhere)
    }
}
