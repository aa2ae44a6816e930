//! Prints the tokens of captions, or the synonyms of words. `bench/captions.py` compares both with
//! open_clip and NLTK.
//!
//!     captions tokens < captions.json     # tokens as JSON; speed on one thread to stderr
//!     captions synonyms < words.json      # synonyms of each word as JSON; load time to stderr

use gauntlet::data::eda::Synonyms;
use gauntlet::data::tokenize::Tokenizer;
use std::time::{Duration, Instant};

/// Encoding all captions once is too fast to time, so it is repeated for this long.
const TIMED: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let texts: Vec<String> = serde_json::from_reader(std::io::stdin().lock())?;
    match std::env::args().nth(1).as_deref() {
        Some("tokens") => tokens(&texts),
        Some("synonyms") => synonyms(&texts),
        _ => Err("give `tokens` or `synonyms`, and a JSON list of strings on standard input".into()),
    }
}

fn tokens(captions: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let tokenizer = Tokenizer::new(&[], 49_408)?;
    eprintln!("ready after {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let encode = || -> Vec<Vec<i64>> { captions.iter().map(|caption| tokenizer.encode(caption, 77)).collect() };
    let started = Instant::now();
    let tokens = encode();
    eprintln!("first turn: {:.0} captions/s", captions.len() as f64 / started.elapsed().as_secs_f64());
    let (started, mut turns) = (Instant::now(), 0);
    while started.elapsed() < TIMED {
        std::hint::black_box(encode());
        turns += 1;
    }
    eprintln!(
        "later turns: {:.0} captions/s",
        f64::from(turns) * captions.len() as f64 / started.elapsed().as_secs_f64()
    );
    Ok(serde_json::to_writer(std::io::stdout().lock(), &tokens)?)
}

fn synonyms(words: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let synonyms = Synonyms::wordnet();
    let started = Instant::now();
    std::hint::black_box(synonyms.of("photo"));
    eprintln!("first word, which unpacks the table: {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let started = Instant::now();
    let found: Vec<_> = words.iter().map(|word| synonyms.of(word)).collect();
    eprintln!("others: {:.2} us a word", started.elapsed().as_secs_f64() * 1e6 / words.len() as f64);
    Ok(serde_json::to_writer(std::io::stdout().lock(), &found)?)
}
