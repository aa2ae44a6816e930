//! Exports of a suite in which `good` and `near` cannot be distinguished, `mid` is better than the
//! baseline and worse than both, and `hollow` has learnt nothing.

use super::{csv, latex, markdown};
use crate::sample;
use gauntlet::results::Line;
use gauntlet::suite::Suite;

const VALUES: [(&str, [f64; 6]); 5] = [
    ("clip", [0.90, 0.91, 0.89, 0.92, 0.90, 0.90]),
    ("good", [0.10, 0.12, 0.09, 0.11, 0.10, 0.11]),
    ("near", [0.12, 0.10, 0.11, 0.10, 0.12, 0.10]),
    ("mid", [0.50, 0.52, 0.49, 0.51, 0.50, 0.51]),
    ("hollow", [0.0; 6]),
];

/// The suite with its first seeds.
fn suite(seeds: u64) -> (Suite, Vec<Line>) {
    let numbers: Vec<u64> = (0..seeds).collect();
    let suite = sample::suite(&numbers, &VALUES.map(|(defense, _)| defense));
    let mut lines = Vec::new();
    for (defense, values) in VALUES {
        let top1 = if defense == "hollow" { 0.1 } else { 0.9 };
        for (seed, value) in numbers.iter().zip(values) {
            for (arena, success) in [("poisoned", value), ("clean", 0.01)] {
                lines.push(Line::Score(sample::score(arena, None, defense, *seed, "top1", top1)));
                lines.push(Line::Score(sample::score(arena, Some("badnet_x"), defense, *seed, "asr", success)));
            }
        }
    }
    (suite, lines)
}

#[test]
fn latex_is_bold_only_where_no_other_is_distinguishably_better() {
    let (suite, lines) = suite(6);
    let page = latex(&suite, &lines).unwrap();
    let row = |defense: &str| page.lines().find(|line| line.trim_start().starts_with(defense)).unwrap().trim();
    let interval = "90.0 [89.0, 90.9]";
    assert_eq!(row("good"), format!("good & {interval} & \\textbf{{10.5}} [9.4, 11.9] &  \\\\"));
    assert_eq!(
        row("near"),
        format!("near & {interval} & \\textbf{{10.8}} [9.8, 12.1] &  \\\\"),
        "cannot be distinguished from good"
    );
    assert_eq!(row("mid"), format!("mid & {interval} & 50.5 [48.8, 52.2] &  \\\\"), "good is better than it");
    assert_eq!(
        row("hollow"),
        "hollow & 10.0 [9.1, 11.0] & 0.0 [0.0, 14.5] & vacuous, costly \\\\",
        "and prevents no bold"
    );
}

#[test]
fn latex_below_six_seeds_has_nothing_bold_and_says_why() {
    let (mut suite, mut lines) = suite(2);
    suite.defenses.retain(|label, _| label == "clip" || label == "good");
    lines.retain(|line| !matches!(line, Line::Score(score) if score.seed == 1 && score.defense == "good"));
    let page = latex(&suite, &lines).unwrap();
    let golden = r"% Needs \usepackage{booktabs}.
% 2 seeds: means and ranges, no interval and no verdict; 3 seeds give an interval, 6 a verdict

\begin{table}
  \centering
  \caption{sample $\cdot$ arena poisoned (badnet\_x) $\cdot$ seeds 0, 1 $\cdot$ \%. Least and greatest of two seeds. Nothing is bold: a verdict needs 6 seeds (here: 2). --: not run, or no such score.}
  \begin{tabular}{lrrl}
    \toprule
    defense & top1 $\uparrow$ & \begin{tabular}[b]{@{}r@{}}badnet\_x \\ asr $\downarrow$\end{tabular} & note \\
    \midrule
    clip & 90.0 to 90.0 & 90.0 to 91.0 & baseline \\
    good & 90.0 & 10.0 &  \\
    \bottomrule
  \end{tabular}
\end{table}
";
    assert!(page.starts_with(golden) && !page.contains("textbf"), "{page}");
}

#[test]
fn csv_has_a_row_a_score_with_every_seed_and_what_is_said_of_it() {
    let (suite, mut lines) = suite(3);
    lines.retain(|line| !matches!(line, Line::Score(score) if score.seed == 1 && score.defense == "good"));
    let text = csv(&suite, &lines).unwrap();
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().unwrap().clone();
    let rows: Vec<::csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2 * 2 * VALUES.len());
    let row = |of: [&str; 3]| {
        let column = |name: &str| names.iter().position(|other| other == name).unwrap();
        let place = ["arena", "defense", "score"].map(column);
        rows.iter()
            .find(|row| place.map(|at| &row[at]) == of)
            .map(|row| move |name: &str| row[column(name)].to_string())
            .unwrap()
    };
    let good = row(["poisoned", "good", "asr"]);
    let said =
        ["attack", "set", "unit", "higher_is_better", "seeds", "mean", "base_mean", "gate", "baseline"].map(&good);
    assert_eq!(said, ["badnet_x", "", "share", "false", "2", "0.095", "0.01", "passed", "false"]);
    assert_eq!(["seed_0", "seed_1", "seed_2"].map(&good), ["0.1", "", "0.09"]);
    assert_eq!(["gate", "base_mean", "vacuous"].map(row(["poisoned", "hollow", "top1"])), ["", "", "true"]);
    assert_eq!(["gate", "base_mean", "baseline"].map(row(["clean", "clip", "asr"])), ["", "", "true"]);
}

#[test]
fn markdown_has_the_cells_of_the_text_in_tables_that_github_takes() {
    let (suite, lines) = suite(2);
    let page = markdown(&suite, &lines).unwrap();
    let golden = "### sample · arena poisoned (badnet\\_x) · seeds 0, 1 · %\n
| defense | top1 ↑ | badnet\\_x<br>asr ↓ | note |
| --- | ---: | ---: | --- |
| clip | 90.0 to 90.0<br>90.0 90.0 | 90.0 to 91.0<br>90.0 91.0<br>base 1.0 1.0 | baseline |
| good | 90.0 to 90.0<br>90.0 90.0 | 10.0 to 12.0<br>10.0 12.0<br>base 1.0 1.0 |  |\n";
    assert!(page.starts_with(golden), "{page}");
}

#[test]
fn seeds_in_two_camps_are_told_beside_the_mean_in_every_form() {
    let seeds: Vec<u64> = (0..6).collect();
    let suite = sample::suite(&seeds, &["clip"]);
    let of = |(seed, value): (&u64, f64)| {
        Line::Score(sample::score("poisoned", Some("badnet_x"), "clip", *seed, "asr", value))
    };
    let lines: Vec<Line> = seeds.iter().zip([0.02, 0.91, 0.0, 0.67, 0.08, 0.01]).map(of).collect();
    let text = crate::table::render(&suite, &lines).unwrap();
    assert!(text.contains("2 of 6 broken"), "{text}");
    assert!(markdown(&suite, &lines).unwrap().contains("<br>2 of 6 broken<br>"));
    assert!(latex(&suite, &lines).unwrap().contains("] (2 of 6 broken)"));
    let text = csv(&suite, &lines).unwrap();
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let place = reader.headers().unwrap().iter().position(|name| name == "broken").unwrap();
    assert_eq!(&reader.records().next().unwrap().unwrap()[place], "2");
}

#[test]
fn text_is_no_formula_and_no_command_of_a_terminal_in_any_format() {
    let (mut suite, lines) = suite(1);
    suite.name = "=HYPERLINK(\"x\")\u{1b}[2J".into();
    let table = csv(&suite, &lines).unwrap();
    let rows: Vec<::csv::StringRecord> =
        ::csv::Reader::from_reader(table.as_bytes()).records().map(|row| row.unwrap()).collect();
    assert_eq!(&rows[0][0], "'=HYPERLINK(\"x\")\\x1b[2J");
    let numbers = ["-0.5", "+1e3", "0.9"].map(super::csv::cell);
    assert_eq!(numbers, ["-0.5", "+1e3", "0.9"], "numbers stay numbers");
    assert_eq!(["-x", "@SUM(A1)", "\tx"].map(super::csv::cell), ["'-x", "'@SUM(A1)", "'\\tx"]);
    for format in [csv, markdown, latex] {
        assert!(!format(&suite, &lines).unwrap().contains('\u{1b}'));
    }
}
