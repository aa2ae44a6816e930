//! `gauntlet report`: the page in a browser, and that the content of files appears only as text in
//! it.

use crate::program::{argument, folder, gauntlet, scores};
use crate::suite::WORLD;
use gauntlet::results::ScoreLine;
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Attributes that Chart.js sets on a canvas that it draws on.
const DRAWN: &str = "style=\"display: block; box-sizing: border-box";

/// A browser; `None` if the environment turns it off.
fn chromium() -> Option<PathBuf> {
    if std::env::var("GAUNTLET_NO_BROWSER").as_deref() == Ok("1") {
        return None;
    }
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)));
    let hint = "no Chromium on PATH, which this test looks at the report with: apt install chromium (Fedora: dnf install chromium), \
                or name one in CHROMIUM, or set GAUNTLET_NO_BROWSER=1 to leave this out";
    Some(found.into_iter().find(|program| program.is_file()).expect(hint))
}

/// The page in the browser after its script has run. Any message of the browser fails the test.
fn open(browser: &Path, page: &Path, fragment: &str, more: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--enable-logging=stderr", "--virtual-time-budget=10000", "--window-size=1280,1600"]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).args(more);
    let output = command.arg(format!("file://{}{fragment}", page.display())).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("CONSOLE"), "{}: {said}", page.display());
    String::from_utf8(output.stdout).unwrap()
}

fn dom(browser: &Path, page: &Path, fragment: &str) -> String {
    open(browser, page, fragment, &["--dump-dom"])
}

/// The `data-value` of a table's cells, row by row.
fn rows(dom: &str, table: &str) -> Vec<Vec<String>> {
    let table = dom.split(&format!("id=\"{table}\"")).nth(1).unwrap_or_else(|| panic!("no table {table} in {dom}"));
    let body = table.split("<tbody>").nth(1).unwrap().split("</tbody>").next().unwrap();
    let value = |rest: &str| rest.split('"').next().unwrap().to_string();
    body.split("<tr").skip(1).map(|row| row.split("data-value=\"").skip(1).map(value).collect()).collect()
}

pub fn mean(lines: &[ScoreLine], arena: &str, defense: &str, score: &str) -> f64 {
    let wanted = |line: &&ScoreLine| line.arena == arena && line.defense == defense && line.score == score;
    let values: Vec<f64> = lines.iter().filter(wanted).map(|line| line.value).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn a_browser_shows_the_scores_sorts_them_and_draws_the_plots() {
    let page = WORLD.home.join("report.html");
    let ran = gauntlet(&["report", argument(&WORLD.out), "--html", argument(&page)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.matches("data:image/png;base64,").count() >= 16, "images of edits and of tests");
    assert!(text.contains("answers") && !text.contains("Not drawn") && !text.contains("Could not be read"));
    let Some(browser) = chromium() else { return };

    let shown = dom(&browser, &page, "");
    let lines = scores(&WORLD.out.join("results.jsonl"));
    let ours = rows(&shown, "scores-poisoned");
    assert_eq!(ours.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), ["clip", "roclip"]);
    for row in &ours {
        for (value, score) in row[1..].iter().zip(["top1", "psr", "returned", "asr"]) {
            let (value, wanted) = (value.parse::<f64>().unwrap(), mean(&lines, "poisoned", &row[0], score));
            assert!((value - wanted).abs() < 1e-12, "{score} of {}: {value}, not {wanted}", row[0]);
            assert!(shown.contains(&format!(">{:.1}</div>", wanted * 100.0)), "and is written out");
        }
    }
    assert!(shown.contains("<canvas data-chart=\"0\"") && shown.contains(DRAWN), "a plot is drawn");

    let order = |way: &str| -> Vec<f64> {
        let sorted = dom(&browser, &page, &format!("#sort=scores-poisoned,1,{way}"));
        assert!(sorted.contains(&format!("aria-sort=\"{way}\"")), "{way}");
        rows(&sorted, "scores-poisoned").iter().map(|row| row[1].parse().unwrap()).collect()
    };
    let (rising, falling) = (order("ascending"), order("descending"));
    assert!(rising.is_sorted() && falling.is_sorted_by(|a, b| a >= b) && rising.len() == 2, "{rising:?} {falling:?}");

    let image = WORLD.home.join("report.png");
    open(&browser, &page, "", &[&format!("--screenshot={}", image.display())]);
    let image = image::open(&image).unwrap().to_rgb8();
    let colours: HashSet<[u8; 3]> = image.pixels().map(|pixel| pixel.0).collect();
    assert!(image.width() == 1280 && colours.len() > 50, "{} colours", colours.len());
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

#[test]
fn what_files_hold_is_text_and_never_markup() {
    const HOSTILE: &str = "</script><img src=x onerror=alert(1)><!--";
    let out = folder("report-hostile");
    copy(&WORLD.out, &out);
    // A label, a caption of the poison, and an error message of a trial.
    for file in ["suite.json", "results.jsonl"] {
        let text = fs::read_to_string(out.join(file)).unwrap();
        fs::write(out.join(file), text.replace("\"roclip\"", &format!("\"{HOSTILE}\""))).unwrap();
    }
    for entry in fs::read_dir(out.join("store")).unwrap().map(|entry| entry.unwrap().path().join("edits.jsonl")) {
        let Ok(text) = fs::read_to_string(&entry) else { continue };
        let hostile = |line: &str| {
            let mut edit: Value = serde_json::from_str(line).unwrap();
            edit["edit"]["caption"] = HOSTILE.into();
            edit.to_string() + "\n"
        };
        fs::write(&entry, text.lines().map(hostile).collect::<String>()).unwrap();
    }
    let failed = out.join("trials/poisoned/clip/seed-1");
    fs::remove_file(failed.join("scores.jsonl")).unwrap();
    fs::write(failed.join("stderr.log"), HOSTILE).unwrap();

    let ran = gauntlet(&["report", argument(&out)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let text = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(!text.contains(HOSTILE) && !text.contains("<img src=x"), "it is escaped");
    let escaped = "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;";
    assert!(text.contains("was changed after it was written"), "poison that is not what the run made is not shown");
    for place in ["<pre>", "</span> "] {
        assert!(text.contains(&format!("{place}{escaped}")), "after {place}");
    }
    assert!(text.contains("\\u003c/script\\u003e\\u003cimg"), "and so it is for the plots");
    let Some(browser) = chromium() else { return };
    let shown = dom(&browser, &out.join("report.html"), "");
    assert!(!shown.contains("<img src=\"x\"") && shown.contains(DRAWN), "the program of the page runs");
}

#[test]
fn a_run_without_its_store_still_has_its_report() {
    let out = folder("report-storeless");
    for file in ["suite.json", "results.jsonl"] {
        fs::copy(WORLD.out.join(file), out.join(file)).unwrap();
    }
    let ran = gauntlet(&["report", argument(&out)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let text = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(text.contains("There is no gallery: ") && text.contains("id=\"scores-poisoned\""), "{text}");
    assert!(!out.join("store").exists(), "nothing is made there");
    let nothing = gauntlet(&["report", argument(&folder("report-nothing"))]);
    assert!(nothing.code == Some(2) && nothing.stderr.contains("contains no suite.json"), "{nothing:?}");
}

#[test]
fn lines_that_an_earlier_version_wrote_without_roles_give_the_table_that_they_gave() {
    let frozen = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/frozen/out");
    let table = fs::read_to_string(Path::new(frozen).join("table.txt")).unwrap();
    assert!(!fs::read_to_string(Path::new(frozen).join("results.jsonl")).unwrap().contains("role"));
    let output = gauntlet(&["table", frozen]);
    assert_eq!((output.code, output.stdout), (Some(0), table), "{}", output.stderr);
}
