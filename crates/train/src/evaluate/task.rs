//! Multiple choice by log-likelihood, scored as lm-evaluation-harness scores it.
//!
//! Source: EleutherAI/lm-evaluation-harness, `lm_eval/api/task.py` (`process_results` of `multiple_choice`), `lm_eval/api/metrics.py`
//! (`mean_stderr`) and `lm_eval/api/model.py` (`_encode_pair`).

use crate::data::Lines;
use crate::error::TrainError;
use crate::run::RunError;
use crate::step::Network;
use crate::tokenizer::Tokenizer;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// The result of a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskScore {
    /// Number of questions.
    pub questions: usize,
    /// The share of questions whose right choice has the largest log-likelihood.
    pub acc: f64,
    /// Its standard error; `None` for a single question.
    pub acc_stderr: Option<f64>,
    /// As `acc`, with each log-likelihood divided by the number of characters of its choice.
    pub acc_norm: f64,
    /// Its standard error.
    pub acc_norm_stderr: Option<f64>,
    /// Questions of which the beginning was cut off, to fit into the model's window.
    pub cut: usize,
}

/// A question with its choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    query: String,
    choices: Vec<String>,
    gold: usize,
}

impl Question {
    /// Reads a line; the error says what is wrong and what is expected.
    fn read(line: &[u8]) -> Result<Self, String> {
        const WANT: &str = "expected are `query`, a string; `choices`, a list of strings; `gold`, the index of the right one";
        let value: Value = serde_json::from_slice(line).map_err(|error| format!("it is no JSON: {error}"))?;
        let Some(query) = value["query"].as_str() else { return Err(format!("it has no `query`; {WANT}")) };
        let choices: Option<Vec<String>> = value["choices"]
            .as_array()
            .and_then(|list| list.iter().map(|choice| choice.as_str().map(str::to_owned)).collect());
        let Some(choices) = choices.filter(|choices| choices.len() > 1) else {
            return Err(format!("its `choices` are not two or more strings; {WANT}"));
        };
        if choices.iter().any(String::is_empty) {
            return Err("one of its `choices` is empty".to_owned());
        }
        let gold = match &value["gold"] {
            Value::String(text) => choices.iter().position(|choice| choice == text),
            gold => {
                gold.as_u64().and_then(|gold| usize::try_from(gold).ok()).filter(|&gold| gold < choices.len())
            }
        };
        let Some(gold) = gold else {
            return Err(format!(
                "its `gold` is none of {} choices: {}; {WANT}",
                choices.len(),
                value["gold"]
            ));
        };
        Ok(Self { query: query.to_owned(), choices, gold })
    }

    /// The questions in a file.
    ///
    /// # Errors
    /// [`TrainError::Record`] for the first line that is none; [`TrainError::EmptyText`].
    pub(super) fn read_all(path: &Path) -> Result<Vec<Self>, TrainError> {
        let read = |line: Result<(u64, Vec<u8>), TrainError>| {
            let (line, text) = line?;
            Self::read(&text).map_err(|problem| TrainError::Record { path: path.to_owned(), line, problem })
        };
        let questions = Lines::open(path)?.map(read).collect::<Result<Vec<_>, _>>()?;
        if questions.is_empty() {
            return Err(TrainError::EmptyText { path: path.to_owned() });
        }
        Ok(questions)
    }

    /// The tokens of the query with each choice after a space, and the number of tokens before the choice. Spaces at the end of the
    /// query belong to the choice.
    pub(super) fn encode(&self, tokenizer: &Tokenizer) -> Result<Vec<(Vec<u32>, usize)>, TrainError> {
        let query = self.query.trim_end();
        let blanks = &self.query[query.len()..];
        let before = tokenizer.encode_prompt(query)?;
        let each = self.choices.iter().map(|choice| {
            let whole = format!("{query}{blanks} {choice}");
            match query.is_empty() {
                // An empty query is the token that begins a text.
                true => Ok(([&before[..], &tokenizer.encode_rendered(&whole)?].concat(), before.len())),
                false => Ok((tokenizer.encode_prompt(&whole)?, before.len())),
            }
        });
        each.collect()
    }

    /// Whether the choice with the largest log-likelihood is the right one, and whether that with the largest one per character is.
    fn is_right(&self, log_likelihoods: &[f64]) -> [bool; 2] {
        let per_character = log_likelihoods.iter().zip(&self.choices);
        let per_character: Vec<f64> =
            per_character.map(|(ll, choice)| ll / choice.chars().count() as f64).collect();
        [first_largest(log_likelihoods), first_largest(&per_character)].map(|at| at == self.gold)
    }
}

/// The index of the first of the largest numbers.
fn first_largest(numbers: &[f64]) -> usize {
    let better = |best: usize, at: usize| if numbers[at] > numbers[best] { at } else { best };
    (0..numbers.len()).reduce(better).unwrap_or(0)
}

/// The share of what is right, and its standard error: the sample's deviation over the root of its number.
fn mean(right: &[bool]) -> (f64, Option<f64>) {
    let n = right.len() as f64;
    let mean = right.iter().filter(|&&right| right).count() as f64 / n;
    let squares: f64 = right.iter().map(|&right| (f64::from(u8::from(right)) - mean).powi(2)).sum();
    (mean, (right.len() > 1).then(|| (squares / (n - 1.0)).sqrt() / n.sqrt()))
}

/// Scores `questions`, each with its choices as tokens.
pub(super) fn score(
    network: &Network,
    questions: &[Question],
    encoded: &[Vec<(Vec<u32>, usize)>],
    progress: &mut dyn FnMut(usize),
) -> Result<TaskScore, RunError> {
    let seq = network.cfg.seq;
    let (mut right, mut cut) = ([Vec::new(), Vec::new()], 0);
    for (i, (question, choices)) in questions.iter().zip(encoded).enumerate() {
        let mut log_likelihoods = Vec::with_capacity(choices.len());
        cut += usize::from(choices.iter().any(|(tokens, _)| tokens.len() > seq + 1));
        for (tokens, before) in choices {
            // The end of what is too long is kept.
            let skipped = tokens.len().saturating_sub(seq + 1);
            let first = before.saturating_sub(skipped).max(1);
            let mut window = tokens[skipped..].to_vec();
            let weight = |t: usize| if (first..window.len()).contains(&(t + 1)) { 1.0 } else { 0.0 };
            let weights: Vec<f32> = (0..seq).map(weight).collect();
            window.resize(seq + 1, 0);
            log_likelihoods.push(-network.evaluate_weighted(&window, &[], weights)?);
        }
        let found = question.is_right(&log_likelihoods);
        right.iter_mut().zip(found).for_each(|(right, found)| right.push(found));
        progress(i + 1);
    }
    let [(acc, acc_stderr), (acc_norm, acc_norm_stderr)] = right.each_ref().map(|right| mean(right));
    Ok(TaskScore { questions: questions.len(), acc, acc_stderr, acc_norm, acc_norm_stderr, cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Log-likelihoods and what lm-evaluation-harness 0.4 makes of them: `python tests/chat/record_task.py`.
    #[test]
    fn scores_are_those_of_the_harness() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/chat/task.json");
        let record: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let (mut acc, mut norm) = (Vec::new(), Vec::new());
        for case in record["cases"].as_array().unwrap() {
            let question = Question::read(case["question"].to_string().as_bytes()).unwrap();
            let lls: Vec<f64> =
                case["lls"].as_array().unwrap().iter().map(|ll| ll.as_f64().unwrap()).collect();
            let [by_sum, by_character] = question.is_right(&lls);
            assert_eq!(Value::from(f64::from(u8::from(by_sum))), case["acc"], "{case}");
            assert_eq!(Value::from(f64::from(u8::from(by_character))), case["acc_norm"], "{case}");
            acc.push(by_sum);
            norm.push(by_character);
        }
        for (right, name) in [(acc, "acc"), (norm, "acc_norm")] {
            let (share, error) = mean(&right);
            let want = |key: &str| record[key].as_f64().unwrap();
            // Sums in another order: a few 2⁻⁵³.
            assert!((share - want(name)).abs() < 1e-14, "{name} {share}");
            assert!((error.unwrap() - want(&format!("{name}_stderr"))).abs() < 1e-14, "{name} {error:?}");
        }
        assert_eq!(mean(&[true]), (1.0, None));
    }

    #[test]
    fn what_is_wrong_with_a_question_is_said() {
        for (line, want) in [
            ("{\"choices\": []}", "it has no `query`; expected are"),
            ("{\"query\": \"\", \"choices\": [\"a\"]}", "its `choices` are not two or more strings"),
            ("{\"query\": \"\", \"choices\": [\"a\", \"\"]}", "one of its `choices` is empty"),
            (
                "{\"query\": \"\", \"choices\": [\"a\", \"b\"], \"gold\": 2}",
                "its `gold` is none of 2 choices: 2",
            ),
        ] {
            let got = Question::read(line.as_bytes()).unwrap_err();
            assert!(got.starts_with(want), "{line}: {got}");
        }
    }
}
