//! How good and how fast the answers were.

use kaogong_domain::Problem;
use serde::Serialize;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};

/// The right answer.
pub enum Truth {
    /// A class.
    Class(String),
    /// A number.
    Number(f64),
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Calls made, one per item.
    pub calls: u64,
    /// Share of right classes, 0 to 1; absent for regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// The mean, over the classes, of the share of each that was found; absent for regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balanced_accuracy: Option<f64>,
    /// The mean of the F1 scores of the classes; absent for regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<f64>,
    /// Different classes among the held-out items.
    #[serde(skip)]
    pub classes: usize,
    /// What always answering the commonest class of the held-out items would get; the least a model must beat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_accuracy: Option<f64>,
    /// Coefficient of determination, for regression; 0 is what always answering the mean gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r2: Option<f64>,
    /// Mean absolute error, for regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mae: Option<f64>,
    /// Median time of a call as seen here, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, in milliseconds.
    pub p99_ms: f64,
    /// Name and, for tables, values of an item that can be tried.
    #[serde(skip)]
    pub example: Option<(String, Option<Map<String, Value>>)>,
}

impl Report {
    /// Why the model is of no use; `None` for one that learnt something.
    pub fn doubt(&self) -> Option<&'static str> {
        let (accuracy, baseline) = (self.accuracy.unwrap_or(1.0), self.baseline_accuracy.unwrap_or(0.0));
        // Whoever always answers one class finds all of that and none of the others.
        let chance = 1.0 / self.classes.max(1) as f64 + CHANCE_MARGIN;
        let is_chance = self.balanced_accuracy.is_none_or(|it| it <= chance);
        if accuracy <= baseline && baseline < 1.0 && is_chance {
            return Some("no better than always answering the commonest class");
        }
        self.r2.is_some_and(|it| it <= 0.0).then_some("no better than always answering the mean")
    }
}

/// So much above chance is still chance.
const CHANCE_MARGIN: f64 = 0.02;

/// What is added up.
#[derive(Default)]
pub struct Score {
    took: Vec<Duration>,
    right: u64,
    classes: BTreeMap<String, Found>,
    numbers: Vec<(f64, f64)>,
    pub(super) example: Option<(String, Option<Map<String, Value>>)>,
}

/// One class among the answers.
#[derive(Debug, Default, Clone, Copy)]
struct Found {
    /// Items of it.
    there: u64,
    /// Items that were said to be of it.
    answered: u64,
    /// Both.
    right: u64,
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0u64, 0.0), |(count, sum), it| (count + 1, sum + it));
    (count > 0).then(|| sum / count as f64)
}

impl Score {
    pub(super) fn calls(&self) -> u64 {
        self.took.len() as u64
    }

    pub(super) fn add(
        &mut self,
        took: Duration,
        answer: &[f64],
        truth: Truth,
        labels: &[String],
    ) -> Result<(), Problem> {
        let wrong_size = |wanted: usize| {
            Problem::unavailable(format!("the endpoint answered {} numbers where {wanted} belong", answer.len()))
        };
        match truth {
            Truth::Class(class) => {
                if answer.len() != labels.len() || labels.is_empty() {
                    return Err(wrong_size(labels.len()));
                }
                let best = (0..answer.len()).max_by(|one, other| answer[*one].total_cmp(&answer[*other])).unwrap_or(0);
                let is_right = labels[best] == class;
                self.right += u64::from(is_right);
                self.classes.entry(labels[best].clone()).or_default().answered += 1;
                let found = self.classes.entry(class).or_default();
                found.there += 1;
                found.right += u64::from(is_right);
            }
            Truth::Number(truth) => {
                let [value] = answer else { return Err(wrong_size(1)) };
                self.numbers.push((truth, *value));
            }
        }
        self.took.push(took);
        Ok(())
    }

    /// The measures; `None` when nothing was asked.
    pub(super) fn report(mut self, labels: &[String]) -> Option<Report> {
        if self.took.is_empty() {
            return None;
        }
        self.took.sort_unstable();
        let calls = self.calls();
        let accuracy = (!labels.is_empty()).then(|| self.right as f64 / calls as f64);
        let baseline_accuracy = self.classes.values().map(|it| it.there).max().map(|it| it as f64 / calls as f64);
        let there = self.classes.values().filter(|it| it.there > 0);
        let classes = there.clone().count();
        let balanced_accuracy = mean(there.map(|it| it.right as f64 / it.there as f64));
        // Of precision and recall: twice what is right over what was said and what is.
        let f1 = |it: &Found| 2.0 * it.right as f64 / (it.there + it.answered) as f64;
        let macro_f1 = mean(self.classes.values().map(f1));
        let (r2, mae) = regression(&self.numbers).unzip();
        let at = |share| percentile_ms(&self.took, share);
        let (p50_ms, p99_ms) = (at(0.5), at(0.99));
        Some(Report {
            calls,
            accuracy,
            balanced_accuracy,
            macro_f1,
            classes,
            baseline_accuracy,
            r2,
            mae,
            p50_ms,
            p99_ms,
            example: self.example,
        })
    }
}

/// R² and mean absolute error of pairs (truth, answer).
fn regression(pairs: &[(f64, f64)]) -> Option<(f64, f64)> {
    if pairs.is_empty() {
        return None;
    }
    let count = pairs.len() as f64;
    let mean = pairs.iter().map(|it| it.0).sum::<f64>() / count;
    let total: f64 = pairs.iter().map(|it| (it.0 - mean).powi(2)).sum();
    let rest: f64 = pairs.iter().map(|it| (it.0 - it.1).powi(2)).sum();
    let mae = pairs.iter().map(|it| (it.0 - it.1).abs()).sum::<f64>() / count;
    // All truths equal: only a perfect answer explains them.
    let r2 = if total > 0.0 { 1.0 - rest / total } else { f64::from(u8::from(rest == 0.0)) };
    Some((r2, mae))
}

/// The smallest time that `share` of all calls stayed within (nearest rank).
fn percentile_ms(sorted: &[Duration], share: f64) -> f64 {
    let rank = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len());
    (sorted[rank - 1].as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_counted_and_times_ranked() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let mut score = Score::default();
        for ms in 1..=100u64 {
            let truth = if ms <= 90 { "b" } else { "a" };
            score
                .add(Duration::from_millis(ms), &[0.2, 0.8], Truth::Class(truth.into()), &labels)
                .expect("two numbers");
        }
        assert!(score.add(Duration::ZERO, &[1.0], Truth::Class("a".into()), &labels).is_err());
        let report = score.report(&labels).expect("calls");
        assert_eq!((report.calls, report.accuracy, report.p50_ms, report.p99_ms), (100, Some(0.9), 50.0, 99.0));
        assert_eq!((report.baseline_accuracy, report.doubt().is_some()), (Some(0.9), true), "`b` alone gets 0.9 too");
        assert_eq!(report.balanced_accuracy, Some(0.5), "all of `b`, none of `a`");
        assert!(report.macro_f1.is_some_and(|it| (it - 0.9 / 1.9).abs() < 1e-9), "{:?}", report.macro_f1);
        assert!(Score::default().report(&labels).is_none());
    }

    #[test]
    fn a_model_must_beat_the_commonest_class_or_the_mean() {
        let report = |accuracy, baseline_accuracy, r2| Report {
            calls: 9,
            accuracy,
            balanced_accuracy: None,
            macro_f1: None,
            classes: 3,
            baseline_accuracy,
            r2,
            mae: None,
            p50_ms: 1.0,
            p99_ms: 1.0,
            example: None,
        };
        assert!(report(Some(0.37), Some(0.41), None).doubt().is_some());
        assert!(report(Some(0.5), Some(0.41), None).doubt().is_none());
        assert!(report(Some(1.0), Some(1.0), None).doubt().is_none(), "one class only: there is nothing to beat");
        assert!(report(None, None, Some(-0.1)).doubt().is_some());
        assert!(report(None, None, Some(0.1)).doubt().is_none());
    }

    #[test]
    fn a_model_that_finds_the_rare_class_is_of_use_though_it_is_less_accurate() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let mut score = Score::default();
        for at in 0..100 {
            let (truth, answer) =
                (if at < 5 { "a" } else { "b" }, if !(4..80).contains(&at) { [0.9, 0.1] } else { [0.1, 0.9] });
            score.add(Duration::from_millis(1), &answer, Truth::Class(truth.into()), &labels).expect("two numbers");
        }
        let report = score.report(&labels).expect("calls");
        assert!(report.accuracy < report.baseline_accuracy && report.balanced_accuracy > Some(0.7), "{report:?}");
        assert!(report.doubt().is_none());
    }

    #[test]
    fn a_perfect_and_a_useless_regression() {
        assert_eq!(regression(&[(1.0, 1.0), (3.0, 3.0)]), Some((1.0, 0.0)));
        assert_eq!(regression(&[(1.0, 2.0), (3.0, 2.0)]), Some((0.0, 1.0)));
        assert_eq!(regression(&[]), None);
    }
}
