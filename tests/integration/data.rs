//! `gauntlet data` on the small copies of the downstream sets and against a server that sends the
//! wrong file; and the notes on the rows of the pairs.

use crate::program::{argument, clipart_suite, folder, gauntlet};
use gauntlet::data::decode::png;
use gauntlet::data::webdataset::shard::ShardWriter;
use gauntlet::results::{self, Line};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/downstream")
}

#[test]
fn list_names_every_set_and_fetch_says_what_to_get_by_hand() {
    let listed = gauntlet(&["data", "list", "--json"]);
    let sets: Vec<serde_json::Value> = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(sets.len(), 11);
    let table = gauntlet(&["data", "list"]).stdout;
    assert!(sets.iter().all(|set| table.contains(set["name"].as_str().unwrap())), "{table}");
    let home = folder("data-by-hand");
    for (name, expected) in [("cars", "cars_test_annos_withlabels.mat"), ("imagenet", "ILSVRC2012_img_val.tar")] {
        let ran = gauntlet(&["data", "fetch", name, "--to", argument(&home)]);
        assert!(
            ran.code == Some(0) && ran.stdout.contains(expected) && ran.stdout.contains(argument(&home)),
            "{ran:?}"
        );
    }
    let ran = gauntlet(&["data", "fetch", "pet", "--to", argument(&home)]);
    assert!(ran.code == Some(2) && ran.stderr.contains("did you mean `pets`"), "{ran:?}");
}

#[test]
fn verify_counts_images_names_bad_ones_and_refuses_a_set_that_is_not_whole() {
    let whole = gauntlet(&["data", "verify", "pets", argument(&fixtures())]);
    assert!(whole.code == Some(2) && whole.stderr.contains("30 of 3680 images of the train split"), "{whole:?}");
    let verify = |root: &PathBuf| gauntlet(&["data", "verify", "pets", argument(root), "--allow-partial"]);
    let good = verify(&fixtures());
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.stdout.contains("test split: 50 images, 5 to 5 per class, 0 bad"), "{good:?}");

    let home = folder("data-damaged");
    for part in ["images", "annotations"] {
        fs::create_dir_all(home.join(part)).unwrap();
        for file in fs::read_dir(fixtures().join("oxford-iiit-pet").join(part)).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), home.join(part).join(file.file_name())).unwrap();
        }
    }
    fs::write(home.join("images/boxer_255.jpg"), "<html>not found</html>").unwrap();
    let bad = verify(&home);
    assert!(bad.code == Some(1) && bad.stdout.contains("1 bad\n  boxer_255.jpg: "), "{bad:?}");

    // Another image under this name: its list names it once, but its content exists twice.
    fs::copy(home.join("images/boxer_100.jpg"), home.join("images/boxer_255.jpg")).unwrap();
    let twice = verify(&home);
    let named = "copies: 1 images of the test split are copies of images of the train split (the published set has at most 0): boxer_255.jpg (";
    assert!(twice.code == Some(1) && twice.stdout.contains(named), "{twice:?}");
    assert!(twice.stdout.contains("test.txt, line ") && twice.stdout.contains(" = boxer_100.jpg ("), "{twice:?}");

    // Opening a pipe without a writer blocks forever.
    fs::remove_file(home.join("images/boxer_255.jpg")).unwrap();
    assert!(Command::new("mkfifo").arg(home.join("images/boxer_255.jpg")).status().unwrap().success());
    let pipe = verify(&home);
    assert!(
        pipe.code == Some(2) && pipe.stderr.contains("boxer_255.jpg") && pipe.stderr.contains("named pipe"),
        "{pipe:?}"
    );
}

#[test]
fn show_draws_a_sheet_of_images() {
    let out = folder("data-sheet").join("flowers.png");
    let fixtures = fixtures();
    let place = ["data", "show", "flowers102", argument(&fixtures), "--allow-partial", "--count", "12"];
    let ran = gauntlet(&[&place[..], &["--out", argument(&out)]].concat());
    assert!(ran.code == Some(0) && ran.stdout.starts_with("12 images of flowers102"), "{ran:?}");
    // A PNG's header holds width and height: ten tiles and two rows of them.
    let header = fs::read(&out).unwrap();
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
    assert_eq!((&header[1..4], number(16), number(20)), (&b"PNG"[..], 10 * 120 + 8, 2 * 160 + 8));
}

#[test]
fn a_file_that_is_not_the_published_one_is_not_unpacked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mirror = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let asked = lines.next().unwrap();
        lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nnot it!").unwrap();
        asked
    });
    let home = folder("data-mirror");
    let ran = gauntlet(&["data", "fetch", "dtd", "--to", argument(&home), "--mirror", &mirror]);
    assert_eq!(served.join().unwrap(), "GET /dtd-r1.0.1.tar.gz HTTP/1.1");
    assert!(
        ran.code == Some(2) && ran.stderr.contains("not the published fff73e5086ae6bdbea199a49dfb8a4c1"),
        "{ran:?}"
    );
    assert_eq!(fs::read_dir(home.join("dtd")).unwrap().count(), 0);
}

/// Samples `{prefix}{k}` of one colour each, of classes `a` and `b`, in the form of shards.
fn samples(prefix: &str, count: u8) -> Vec<(String, Vec<u8>)> {
    let sample = |k: u8| {
        let (key, label) = (format!("{prefix}{k}"), format!(r#"{{"category": "{}"}}"#, ["a", "b"][usize::from(k % 2)]));
        let canvas = vec![k; 3 * 32 * 32];
        [
            (format!("{key}.png"), png::encode(&canvas, 32)),
            (format!("{key}.txt"), format!("number {k} of {prefix}").into_bytes()),
            (format!("{key}.json"), label.into_bytes()),
        ]
    };
    (0..count).flat_map(sample).collect()
}

fn write_shard(path: &Path, members: &[(String, Vec<u8>)]) {
    let mut shard = ShardWriter::create(path).unwrap();
    members.iter().for_each(|(name, bytes)| shard.add(name, bytes).unwrap());
    shard.finish().unwrap();
}

#[test]
fn cut_shards_are_refused_by_name_and_where_they_are_allowed_all_results_tell_what_was_lost() {
    let home = folder("data-cut-shards");
    let (suite, shards) = (clipart_suite(&home, "clip = {}"), home.join("shards"));
    fs::create_dir(&shards).unwrap();
    for name in ["0.tar", "1.tar"] {
        write_shard(&shards.join(name), &samples(name.trim_end_matches(".tar"), 60));
    }
    let whole = fs::read(shards.join("1.tar")).unwrap();
    fs::write(shards.join("1.tar"), &whole[..whole.len() / 4]).unwrap();
    fs::write(shards.join("2.tar"), b"").unwrap();
    let (path, out) = (format!("data.path={}", argument(&shards)), home.join("out"));
    let data = ["--set", &path, "--set", "data.class_file=", "--set", "heldout=0.3"];
    let small = ["--set", "recipe.warmup_steps=1", "--set", "attacks={}", "--set", "arenas={}"];
    let run = |more: &[&str]| {
        gauntlet(&[&["run", argument(&suite), "--out", argument(&out)], &data[..], &small[..], more].concat())
    };
    let refused = run(&[]);
    let named = ["2 of 3 shards", "1.tar: it is cut short", "2.tar: it is empty (0 bytes)", "cut_shards = \"allow\""];
    assert!(refused.code == Some(2) && named.iter().all(|part| refused.stderr.contains(part)), "{refused:?}");

    let ran = run(&["--set", "data.cut_shards=allow"]);
    let said = [
        "rows: 75 found, 74 kept, 1 lost (cut-shard 1); 2 shards are not whole",
        "rows: not whole: 2.tar: it is empty",
    ];
    assert!(ran.code == Some(0) && said.iter().all(|line| ran.stderr.contains(line)), "{ran:?}");
    assert!(ran.stdout.contains("rows: 75 found, 74 kept"), "the table tells it, too: {ran:?}");
    let lines = results::read_lines(&out.join("results.jsonl")).unwrap();
    let rows = lines.iter().find_map(|line| if let Line::Data(line) = line { Some(&line.rows) } else { None }).unwrap();
    assert_eq!((rows.found, rows.kept, rows.lost[0].rows, rows.cut.len()), (75, 74, 1, 2));
    let ran = gauntlet(&["report", argument(&out)]);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("lost: cut-shard") && page.contains("Not whole, and not counted: 2.tar"), "{ran:?}");
    // Results of an earlier version have no such line.
    let old: Vec<Line> = lines.into_iter().filter(|line| !matches!(line, Line::Data(_))).collect();
    results::write_lines(&out.join("results.jsonl"), &old).unwrap();
    fs::remove_dir_all(out.join("trials")).unwrap();
    let table = gauntlet(&["table", argument(&out)]);
    assert!(table.code == Some(0) && !table.stdout.contains("found"), "{table:?}");
}

#[test]
fn a_list_of_lost_rows_that_an_error_names_is_there_and_the_second_opening_tells_what_the_first_told() {
    let home = folder("data-lost-rows");
    let (suite, shard) = (clipart_suite(&home, "clip = {}"), home.join("s.tar"));
    let mut members = [samples("x", 20), samples("v1.", 10)].concat();
    let broken = members.iter_mut().find(|(name, _)| name == "x3.png").unwrap();
    broken.1.truncate(40);
    write_shard(&shard, &members);
    let path = format!("data.path={}", argument(&shard));
    let data = ["--set", &path, "--set", "data.class_file=", "--set", "attacks={}", "--set", "arenas={}"];
    let export = |out: &str, more: &[&str]| {
        let out = home.join(out);
        let what =
            ["poison", "export", argument(&suite), "--arena", "clean", "--format", "csv", "--out", argument(&out)];
        gauntlet(&[&what[..], &data[..], more].concat())
    };
    let refused = export("refused", &[]);
    assert!(
        refused.code == Some(2) && refused.stderr.contains("10 of 30 rows cannot be used (dotted-name 10)"),
        "{refused:?}"
    );
    let list = refused.stderr.trim().rsplit(" in ").next().unwrap();
    assert!(fs::read_to_string(list).unwrap().contains(r#""kind":"dotted-name","rows":10"#), "{refused:?}");

    let store = home.join("store");
    let kept = ["--set", "data.max_bad=0.5", "--store", argument(&store)];
    let [first, second] = ["first", "second"].map(|out| export(out, &kept));
    assert_eq!((first.code, &first.stderr), (Some(0), &second.stderr));
    let counts = "rows: 30 found, 19 kept, 11 lost (unreadable-image 1, dotted-name 10)\n";
    assert!(first.stderr.starts_with(counts) && first.stderr.contains("s.tar:x3: "), "{first:?}");
}
