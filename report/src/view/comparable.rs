//! The rules for comparisons: which are impossible, and which need care.

use super::ResultsView;
use crate::accuracy;
use crate::lines::{costs, data, tier};
use gauntlet::evaluator::ScoreRole;
use gauntlet::results::{Line, ScoreLine};
use gauntlet::{Error, Result};
use std::collections::{BTreeSet, HashMap};

impl<'a> ResultsView<'a> {
    /// Two sets of edits in one arena and seed are two different attacks, so nothing may be
    /// compared.
    pub(super) fn check_digests(&self) -> Result<()> {
        let differs = |first: &&ScoreLine, line: &&ScoreLine| edits(&first.poison_digest) != edits(&line.poison_digest);
        let Some((first, line)) = self.against_first(differs).next() else { return Ok(()) };
        let why = format!(
            "`{}` and `{}` did not read the same poison ({} and {}); they cannot be compared",
            first.trial, line.trial, first.poison_digest, line.poison_digest
        );
        Err(Error::invalid(format!("arena `{}`, seed {}", line.arena, line.seed), why))
    }

    /// Lines that differ from the first line of their arena and seed, with that line.
    fn against_first(
        &self,
        differs: impl Fn(&&'a ScoreLine, &&'a ScoreLine) -> bool,
    ) -> impl Iterator<Item = (&'a ScoreLine, &'a ScoreLine)> {
        let mut firsts: HashMap<(&str, u64), &ScoreLine> = HashMap::new();
        let pair = move |line: &&'a ScoreLine| (*firsts.entry((&line.arena, line.seed)).or_insert(line), *line);
        self.scores.iter().map(pair).filter(move |(first, line)| differs(first, line))
    }

    /// Differences between the trials that allow comparisons with care: poisoned pixels that
    /// another machine rounded, devices, versions of gauntlet, numbers of rows (from `lines`).
    pub fn warnings(&self, lines: &[Line]) -> Vec<String> {
        let mut warnings = Vec::new();
        let pixels = self.against_first(|first, line| first.poison_digest != line.poison_digest);
        let pixels = pixels.map(|(first, line)| {
            let place = format!("arena {}, seed {}", line.arena, line.seed);
            format!("{place}: `{}` and `{}` trained on the same poison with different pixels", first.trial, line.trial)
        });
        for warning in pixels {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        // Pairs without labels have no accuracy of their own.
        let unlabelled = self.scores.iter().any(|line| line.role == Some(ScoreRole::SuccessWithoutLabels))
            && self.suite.accuracy.is_empty();
        if unlabelled && !self.scores.iter().any(|line| accuracy::is_of(self.suite, line)) {
            let why = "no row has a label, so neither the cost of a defense nor whether a model has learnt anything can be measured";
            warnings.push(format!(
                "{why}; `accuracy` in the suite names a downstream set, or `downstream` for all of them"
            ));
        }
        let devices = several(self.scores.iter().map(|line| line.device.clone()));
        let devices = devices.map(|names| format!("trained on different devices ({names}), which round differently"));
        let versions = several(costs(lines).map(|cost| cost.version()));
        let versions = versions.map(|names| format!("run by different versions of gauntlet ({names})"));
        let mixed: Vec<&str> = costs(lines).filter(|cost| cost.builds > 1).map(|cost| cost.trial.as_str()).collect();
        let mixed = (!mixed.is_empty())
            .then(|| format!("trained by several builds of gauntlet, one after the other ({})", mixed.join(", ")));
        warnings.extend([devices, versions, mixed, other_rows(lines)].into_iter().flatten());
        warnings
    }

    /// Every defense is compared with the baseline, and every arena with the clean one, so all must
    /// have trained in one precision.
    pub(super) fn check_precisions(&self) -> Result<()> {
        let Some(first) = self.scores.first() else { return Ok(()) };
        match self.scores.iter().find(|line| line.precision != first.precision) {
            None => Ok(()),
            Some(other) => Err(Error::invalid(
                format!("`{}` and `{}`", first.trial, other.trial),
                format!(
                    "trained in {} and {}; they cannot be compared",
                    first.precision.name(),
                    other.precision.name()
                ),
            )),
        }
    }

    /// Rows of two tiers, or of a tier and a modified tier, belong to different experiments.
    pub(super) fn check_tiers(&self) -> Result<()> {
        let Some(first) = self.scores.first() else { return Ok(()) };
        match self.scores.iter().find(|line| line.tier != first.tier) {
            None => Ok(()),
            Some(other) => {
                let why =
                    format!("are of different tiers ({} and {}); they cannot be compared", tier(first), tier(other));
                Err(Error::invalid(format!("`{}` and `{}`", first.trial, other.trial), why))
            }
        }
    }

    /// A score whose definition has changed is another score under the same name.
    pub(super) fn check_versions(&self) -> Result<()> {
        let mut firsts: HashMap<&str, &ScoreLine> = HashMap::new();
        for line in &self.scores {
            let first = *firsts.entry(&line.score).or_insert(line);
            if first.version != line.version {
                let why = format!(
                    "has version {} of its definition in `{}` and version {} in `{}`; they cannot be compared: measure \
                     both again with one version of gauntlet",
                    first.version, first.trial, line.version, line.trial
                );
                return Err(Error::invalid(format!("score `{}`", line.score), why));
            }
        }
        Ok(())
    }
}

/// The half of a digest that covers data and edits; the other covers the poisoned pixels.
pub fn edits(digest: &str) -> &str {
    digest.split('-').next().unwrap_or(digest)
}

/// The names, if there are several.
fn several(names: impl Iterator<Item = String>) -> Option<String> {
    let names: BTreeSet<String> = names.collect();
    (names.len() > 1).then(|| names.into_iter().collect::<Vec<_>>().join(", "))
}

/// A warning if trials of one suite found different rows in their data.
fn other_rows(lines: &[Line]) -> Option<String> {
    let read: BTreeSet<(u64, &[String])> =
        data(lines).map(|line| (line.rows.found, line.rows.cut.as_slice())).collect();
    let found = read.iter().map(|(found, cut)| format!("{found} with {} cut shards", cut.len()));
    (read.len() > 1).then(|| format!("not all trials found the same rows ({})", found.collect::<Vec<_>>().join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn builds_that_differ_in_their_sources_are_told_and_lines_of_earlier_versions_are_read() {
        let suite = sample::suite(&[0, 1], &["clip"]);
        let cost = |seed: u64, more: &str| -> Line {
            let old = format!(
                r#"{{"line":"cost","suite":"s","trial":"clean/clip/seed-{seed}","prepare_seconds":0.1,"train_seconds":1.0,
                "evaluate_seconds":0.1,"cpu_seconds":1.0,"samples_per_second":9.0,"peak_memory":1,"peak_device_memory":null,
                "device":"cpu","precision":"fp32","tf32":false,"threads":1{more}}}"#
            );
            serde_json::from_str(&old).unwrap()
        };
        let of = |sources: &str, commit: &str| {
            format!(r#","gauntlet":"0.1.0","sources":"{sources}","commit":"{commit}","dirty":true"#)
        };
        let (one, other) = ("0123456789abcdef", "fedcba9876543210");
        let warnings = |lines: &[Line]| ResultsView::new(&suite, lines).unwrap().warnings(lines);
        assert!(warnings(&[cost(0, ""), cost(1, "")]).is_empty());
        assert!(warnings(&[cost(0, &of(one, one)), cost(1, &of(one, other))]).is_empty(), "a commit is no other build");
        let warned = warnings(&[cost(0, &of(one, one)), cost(1, &of(other, one))]);
        assert_eq!(
            warned,
            [
                "run by different versions of gauntlet (0.1.0 with sources 0123456789ab, 0.1.0 with sources fedcba987654)"
            ]
        );
        let warned = warnings(&[cost(0, r#","builds":2"#)]);
        assert_eq!(warned, ["trained by several builds of gauntlet, one after the other (clean/clip/seed-0)"]);
        let Line::Cost(cost) = cost(0, &of(one, other)) else { unreachable!() };
        assert_eq!(cost.build(), "0.1.0 with sources 0123456789ab of commit fedcba987654, changed");
    }

    #[test]
    fn two_versions_of_one_score_are_refused_and_lines_without_one_have_the_first() {
        let suite = sample::suite(&[0], &["clip", "roclip"]);
        let of = |defense: &str, score: &str, version: u32| {
            Line::Score(ScoreLine { version, ..sample::score("clean", None, defense, 0, score, 0.5) })
        };
        let json = serde_json::to_string(&of("clip", "top1", 1)).unwrap();
        assert!(!json.contains("version"), "{json}");
        assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), of("clip", "top1", 1));
        let lines = [of("clip", "top1", 1), of("roclip", "top1", 1), of("clip", "top5", 2)];
        assert!(ResultsView::new(&suite, &lines).is_ok(), "other scores have versions of their own");
        let lines = [of("clip", "top1", 1), of("roclip", "top1", 2)];
        let refused = ResultsView::new(&suite, &lines).err().map(|error| error.chain()).unwrap();
        assert!(refused.contains("score `top1`: has version 1 of its definition in `clean/clip/seed-0`"), "{refused}");
    }

    #[test]
    fn poison_of_other_edits_is_refused_and_of_other_pixels_alone_is_told() {
        let suite = sample::suite(&[0], &["clip", "roclip"]);
        let of = |defense: &str, digest: &str| {
            let line = sample::score("poisoned", Some("badnet_x"), defense, 0, "asr", 0.5);
            Line::Score(ScoreLine { poison_digest: digest.into(), ..line })
        };
        let lines = [of("clip", "edits-here"), of("roclip", "edits-there"), of("roclip", "edits-there")];
        let warnings = ResultsView::new(&suite, &lines).unwrap().warnings(&lines);
        assert_eq!(warnings.len(), 1, "warned once: {warnings:?}");
        assert!(
            warnings[0].contains("poisoned/clip/seed-0") && warnings[0].contains("with different pixels"),
            "{warnings:?}"
        );
        let lines = [of("clip", "edits-here"), of("roclip", "others-here")];
        let refused = ResultsView::new(&suite, &lines).err().map(|error| error.chain()).unwrap();
        assert!(refused.contains("did not read the same poison (edits-here and others-here)"), "{refused}");
    }
}
