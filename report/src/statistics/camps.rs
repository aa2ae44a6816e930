//! Seeds in two camps: for example a backdoor that works in two seeds of eight and not at all in
//! six. A mean describes neither camp, so tables also print how many seeds are broken.

/// The gap between the camps, in shares. Seeds of 32 cases each rarely differ by as much if their
/// rates are equal.
const GAP: f64 = 0.3;

/// The number of broken shares, if they fall into two camps: three seeds or more, of which two
/// neighbours in sorted order are 30 points apart or more, and at least as far as the rest of the
/// range together. The broken seeds are those on the worse side of that gap.
pub fn broken(values: &[f64], worse_above: bool) -> Option<usize> {
    if values.len() < 3 {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let gaps = sorted.windows(2).map(|two| two[1] - two[0]);
    let (below, gap) = (1..).zip(gaps).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let range = sorted.last()? - sorted.first()?;
    // Floating-point rounding must not make a gap of 30 points of 100 smaller.
    let apart = gap >= GAP - 1e-9 && gap >= range / 2.0;
    apart.then(|| if worse_above { values.len() - below } else { below })
}

/// The text for users.
pub fn words(broken: usize, seeds: usize) -> String {
    format!("{broken} of {seeds} broken")
}

#[cfg(test)]
mod tests {
    use super::broken;

    #[test]
    fn the_gap_makes_the_camps_and_the_worse_side_is_broken() {
        let of = |worse_above: bool, percent: &[i32]| {
            broken(&percent.iter().map(|value| f64::from(*value) / 100.0).collect::<Vec<_>>(), worse_above)
        };
        let (accuracy, success) = (false, true);
        // docs/results.md, badnet: RoCLIP, augmentation, clip, unaugmented-e2; at other rates.
        assert_eq!(of(success, &[1, 1, 2, 0, 91, 0, 8, 67]), Some(2));
        assert_eq!(of(success, &[3, 6, 6, 0, 96, 1, 21, 88]), Some(2));
        assert_eq!(of(success, &[99, 95, 96, 98, 99, 97, 98, 100]), None);
        assert_eq!(of(success, &[5, 0, 92, 90, 0, 1, 0, 91]), Some(3));
        assert_eq!(of(success, &[99, 99, 96, 95, 10]), Some(4));
        assert_eq!(of(success, &[51, 25, 26, 39, 38]), None, "one cloud");
        assert_eq!(of(success, &[0, 35, 70, 100]), None, "strewn, in no camps");
        assert_eq!(of(accuracy, &[40, 96, 95]), Some(1), "of accuracy the low ones");
        assert_eq!(of(success, &[0, 30, 0]), Some(1));
        assert_eq!(of(success, &[0, 29, 0]), None);
        assert_eq!(of(success, &[0, 100]), None, "two seeds are no camps");
    }
}
