//! `gauntlet data` as a person runs it, on the small copies of the downstream sets and against a server that sends the wrong file.

use crate::program::{argument, folder, gauntlet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
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
fn verify_counts_pictures_names_bad_ones_and_refuses_a_set_that_is_not_whole() {
    let whole = gauntlet(&["data", "verify", "pets", argument(&fixtures())]);
    assert!(whole.code == Some(2) && whole.stderr.contains("30 of 3680 pictures to fit on"), "{whole:?}");
    let verify = |root: &PathBuf| gauntlet(&["data", "verify", "pets", argument(root), "--allow-partial"]);
    let good = verify(&fixtures());
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.stdout.contains("to measure on: 50 pictures, 5 to 5 a class, 0 bad"), "{good:?}");

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

    // Another image under this name: its list names it once, its content is there twice.
    fs::copy(home.join("images/boxer_100.jpg"), home.join("images/boxer_255.jpg")).unwrap();
    let twice = verify(&home);
    let named = "copies: 1 images to measure on are copies of images to fit on (the published set has at most 0): boxer_255.jpg (";
    assert!(twice.code == Some(1) && twice.stdout.contains(named), "{twice:?}");
    assert!(twice.stdout.contains("test.txt, line ") && twice.stdout.contains(" = boxer_100.jpg ("), "{twice:?}");

    // Whoever opens a pipe that nobody writes to waits for ever.
    fs::remove_file(home.join("images/boxer_255.jpg")).unwrap();
    assert!(Command::new("mkfifo").arg(home.join("images/boxer_255.jpg")).status().unwrap().success());
    let pipe = verify(&home);
    assert!(
        pipe.code == Some(2) && pipe.stderr.contains("boxer_255.jpg") && pipe.stderr.contains("named pipe"),
        "{pipe:?}"
    );
}

#[test]
fn show_draws_a_sheet_of_pictures() {
    let out = folder("data-sheet").join("flowers.png");
    let fixtures = fixtures();
    let place = ["data", "show", "flowers102", argument(&fixtures), "--allow-partial", "--count", "12"];
    let ran = gauntlet(&[&place[..], &["--out", argument(&out)]].concat());
    assert!(ran.code == Some(0) && ran.stdout.starts_with("12 pictures of flowers102"), "{ran:?}");
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
