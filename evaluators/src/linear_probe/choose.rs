//! Chooses the regularisation by CLIP's search (Radford et al. 2021, appendix A.3). A fifth of the
//! images of the train split is held out. Seven penalties from 1e-6 to 1e6 are tried; then the
//! interval around the best is halved until there are eight steps per decade. The layer is then
//! fitted on the whole train split with the best penalty.

use crate::logistic::{Layer, Problem};
use crate::per_class::PerClass;
use gauntlet::downstream::Metric;
use gauntlet::tch::Tensor;
use gauntlet::{Result, draw};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Steps of an eighth of a decade on either side of 1: C from 1e-6 to 1e6.
const ENDS: i32 = 48;

/// Fits features f32 `[rows, features]` to classes i64 `[rows]`.
pub fn fit(features: &Tensor, labels: &Tensor, classes: i64, metric: Metric, seed: u64) -> Result<Layer> {
    let truth = super::numbers(labels)?;
    let (rest, held) = hold_out(&truth, seed);
    let whole = || Problem::new(features, labels, classes);
    if held.is_empty() {
        return Ok(whole()?.fit(1.0, None)?.layer); // every class has a single image: none can be held out
    }
    let rows = |rows: &[i64]| Tensor::from_slice(rows).to_device(features.device());
    let part = |which: &Tensor| (features.index_select(0, which), labels.index_select(0, which));
    let ((fit_features, fit_labels), (test, test_labels)) = (part(&rows(&rest)), part(&rows(&held)));
    let problem = Problem::new(&fit_features, &fit_labels, classes)?;
    let truth = super::numbers(&test_labels)?;
    let mut tried: BTreeMap<i32, (f64, Layer)> = BTreeMap::new();
    let best = search(|step| {
        // Start from the nearest fit so far: it converges to the same layer, sooner.
        let near = tried.iter().min_by_key(|(other, _)| (*other - step).abs()).map(|(_, (_, layer))| layer);
        let layer = problem.fit(penalty(step), near)?.layer;
        let found = PerClass::count(&super::numbers(&layer.classify(&test))?, &truth, classes as usize);
        let value = found.score("", metric).map_or(0.0, |score| score.value);
        tried.insert(step, (value, layer));
        Ok(value)
    })?;
    Ok(whole()?.fit(penalty(best), tried.get(&best).map(|(_, layer)| layer))?.layer)
}

/// scikit-learn's C at a step.
fn penalty(step: i32) -> f64 {
    10f64.powf(f64::from(step) / 8.0)
}

/// The best step: two decades apart at first, then ever nearer to the best so far. Among equals,
/// the strongest penalty.
fn search(mut value: impl FnMut(i32) -> Result<f64>) -> Result<i32> {
    let mut values = BTreeMap::new();
    let mut apart = 16;
    let mut next: Vec<i32> = (-ENDS..=ENDS).step_by(apart as usize).collect();
    loop {
        for step in next.drain(..) {
            if let Entry::Vacant(untried) = values.entry(step) {
                untried.insert(value(step)?);
            }
        }
        let better = |a: (i32, f64), (step, value): (&i32, &f64)| if *value > a.1 { (*step, *value) } else { a };
        let (best, _) = values.iter().fold((0, f64::NEG_INFINITY), better);
        if apart == 1 {
            return Ok(best);
        }
        apart /= 2;
        next.extend([best - apart, best + apart].into_iter().filter(|step| step.abs() <= ENDS));
    }
}

/// Holds out a fifth of each class, drawn from the seed; a class of one image is not held out.
/// Returns the remaining rows and the held-out rows.
fn hold_out(labels: &[u32], seed: u64) -> (Vec<i64>, Vec<i64>) {
    let mut by_class: BTreeMap<u32, Vec<(u64, i64)>> = BTreeMap::new();
    for (row, label) in labels.iter().enumerate() {
        let hash = draw::hash(seed, "probe/held-out", &[row as u64]);
        by_class.entry(*label).or_default().push((hash, row as i64));
    }
    let (mut rest, mut held) = (Vec::new(), Vec::new());
    for mut rows in by_class.into_values() {
        rows.sort_unstable();
        let count = if rows.len() < 2 { 0 } else { (rows.len() / 5).max(1) };
        held.extend(rows[..count].iter().map(|(_, row)| *row));
        rest.extend(rows[count..].iter().map(|(_, row)| *row));
    }
    rest.sort_unstable();
    held.sort_unstable();
    (rest, held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_the_peak_to_an_eighth_of_a_decade_in_fifteen_fits_at_most() {
        for peak in [-48, -47, -21, 0, 5, 48] {
            let mut fits = 0;
            let best = search(|step| {
                fits += 1;
                Ok(-f64::from((step - peak).abs()))
            });
            assert!(best.unwrap() == peak && fits <= 15, "{peak}: {fits} fits");
        }
        assert_eq!(search(|_| Ok(0.5)).unwrap(), -48, "among equals, the strongest penalty");
    }

    #[test]
    fn a_fifth_of_each_class_is_held_out_and_nothing_is_on_both_sides() {
        let labels: Vec<u32> = (0..100).map(|row| row % 10).chain([10, 11, 11]).collect();
        let (rest, held) = hold_out(&labels, 3);
        let of = |class: u32| held.iter().filter(|row| labels[**row as usize] == class).count();
        assert!((0..10).all(|class| of(class) == 2) && (of(10), of(11)) == (0, 1));
        assert!(rest.len() + held.len() == 103 && rest.iter().all(|row| !held.contains(row)));
        assert_ne!(hold_out(&labels, 4).1, held);
    }
}
