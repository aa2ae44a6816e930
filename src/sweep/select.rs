//! Which trials of a suite a run takes: `--only` and `--shard`.

use clap::Args;
use gauntlet::{Error, Result, Trial};

/// The part of a suite that a run takes.
#[derive(Args)]
pub struct Selection {
    /// Run only these trials: NAME is one or more whole parts of arena/defense/seed-N, such as
    /// roclip, clean/clip or seed-1; `*` stands for any text within a part. May be given several
    /// times to run all that match one of them
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Run the I-th of N parts of the trials (from 1), for machines that share no folder; then
    /// `gauntlet merge` joins their results. Machines that share --out need no parts
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<Shard>,
}

/// One of several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shard {
    number: usize,
    of: usize,
}

fn shard(text: &str) -> std::result::Result<Shard, String> {
    let read = || {
        let (number, of) = text.split_once('/')?;
        Some(Shard { number: number.trim().parse().ok()?, of: of.trim().parse().ok()? })
    };
    let valid = read().filter(|shard| (1..=shard.of).contains(&shard.number));
    valid.ok_or_else(|| "must be I/N with I from 1 to N, such as 1/4".into())
}

impl Selection {
    /// The trials of this part, in the order of the grid.
    ///
    /// # Errors
    /// If a name of `--only` matches no trial.
    pub fn of<'a>(&self, trials: &'a [Trial]) -> Result<Vec<&'a Trial>> {
        for only in &self.only {
            if !trials.iter().any(|trial| matches(&trial.name(), only)) {
                let names: Vec<String> = trials.iter().map(Trial::name).collect();
                let why = format!(
                    "matches none of {}; give whole parts of a name, or `*` for any text within a part",
                    names.join(", ")
                );
                return Err(Error::invalid(format!("--only {only}"), why));
            }
        }
        let Shard { number, of } = self.shard.unwrap_or(Shard { number: 1, of: 1 });
        let of_shard = trials.iter().enumerate().filter(|(place, _)| place % of == number - 1).map(|(_, trial)| trial);
        let wanted = |trial: &&Trial| self.only.is_empty() || self.only.iter().any(|only| matches(&trial.name(), only));
        Ok(of_shard.filter(wanted).collect())
    }
}

/// Whether consecutive parts of a name are those of a pattern.
fn matches(name: &str, pattern: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let patterns: Vec<&str> = pattern.trim_matches('/').split('/').collect();
    parts.windows(patterns.len()).any(|parts| parts.iter().zip(&patterns).all(|(part, pattern)| fits(part, pattern)))
}

/// Whether a part fits a pattern in which `*` stands for any text.
fn fits(part: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return part == pattern };
    let Some(part) = part.strip_prefix(start) else { return false };
    (0..=part.len()).filter(|at| part.is_char_boundary(*at)).any(|at| fits(&part[at..], rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Shard, matches, shard};

    #[test]
    fn only_takes_whole_parts_and_stars() {
        let yes = [
            ("clean/clip/seed-1", ["clip", "seed-1", "clean/clip", "clean/clip/seed-1", "clip/seed-1"]),
            ("a/roclip-e2/seed-12", ["roclip-*", "seed-1*", "*/seed-12", "a/*/seed-12", "*e2"]),
        ];
        for (name, patterns) in yes {
            patterns.iter().for_each(|pattern| assert!(matches(name, pattern), "{name} {pattern}"));
        }
        for pattern in ["seed-1", "clip", "a/seed-12", "roclip", "a/roclip-e2/seed-12/more", "seed-*3", ""] {
            assert!(!matches("a/roclip-e2/seed-12", pattern), "{pattern}");
        }
    }

    #[test]
    fn shards_count_from_one() {
        assert_eq!(shard("2/3"), Ok(Shard { number: 2, of: 3 }));
        for wrong in ["0/3", "4/3", "3", "a/b", "1/0", "-1/2"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }
}
