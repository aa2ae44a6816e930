//! How well a number separates two kinds of cases.

use gauntlet::Score;

/// Area under the ROC curve: the share of pairs of one case of `first` and one of `second` in which
/// `first` has more; equals count half. The interval is that of Hanley and McNeil (1982), by the
/// normal distribution. `n` is the number of cases of the rarer kind, in which one case weighs
/// most. `None` if a kind has no case.
pub fn auroc(score: &'static str, attack: Option<&str>, first: &[f32], second: &[f32]) -> Option<Score> {
    if first.is_empty() || second.is_empty() {
        return None;
    }
    let mut all: Vec<(f32, bool)> =
        first.iter().map(|value| (*value, true)).chain(second.iter().map(|value| (*value, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (n, m) = (first.len() as f64, second.len() as f64);
    let (mut above, mut below) = (0.0, 0.0);
    for equals in all.chunk_by(|a, b| a.0 == b.0) {
        let of_first = equals.iter().filter(|(_, is_first)| *is_first).count() as f64;
        let of_second = equals.len() as f64 - of_first;
        above += of_first * (below + of_second / 2.0);
        below += of_second;
    }
    let area = above / (n * m);
    // Shrunk towards a half, as Agresti and Coull (1998) do for shares: few cases that all agree
    // leave uncertainty.
    let least = n.min(m);
    let drawn = (area * least + 2.0) / (least + 4.0);
    let (q1, q2) = (drawn / (2.0 - drawn), 2.0 * drawn * drawn / (1.0 + drawn));
    let spread = |n: f64, q: f64| (n - 1.0) * (q - drawn * drawn);
    let variance = (drawn * (1.0 - drawn) + spread(n, q1) + spread(m, q2)) / (n * m);
    let half = 1.96 * variance.max(0.0).sqrt();
    let interval = [(area - half).max(0.0), (area + half).min(1.0)];
    Some(Score::new(score, area, first.len().min(second.len()), interval).about(attack).guessed(0.5))
}

#[cfg(test)]
mod tests {
    use super::auroc;

    /// scikit-learn gives 0.675 for
    /// `roc_auc_score([1, 1, 1, 1, 0, 0, 0, 0, 0], [.9, .4, .4, .7, .1, .4, .5, .4, .7])`.
    #[test]
    fn equals_scikit_learn_with_equals_among_them() {
        let score = auroc("auroc", None, &[0.9, 0.4, 0.4, 0.7], &[0.1, 0.4, 0.5, 0.4, 0.7]).unwrap();
        assert!((score.value - 0.675).abs() < 1e-12, "{score:?}");
        assert!(score.interval[0] < 0.5 && score.interval[1] > 0.9, "nine cases say little: {score:?}");
        assert!(auroc("auroc", None, &[], &[1.0]).is_none());
    }
}
