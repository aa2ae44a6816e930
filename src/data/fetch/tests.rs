//! Downloads from a local server that misbehaves in various ways.

use super::*;
use gauntlet::progress::Silent;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The server's behaviour for one request.
#[derive(Clone, Copy)]
enum Does {
    /// Sends this many bytes of the requested range, and disconnects.
    Cuts(usize),
    /// Sends the requested range.
    Serves,
    /// Ignores the range and sends everything, or this many bytes of it.
    KnowsNoRanges(usize),
    /// Stops sending.
    Stalls,
    /// Answers with this status.
    Answers(u16),
    /// Sends another range than the requested one.
    Misunderstands,
}

/// A server that treats one request after the other as listed; the last behaviour repeats. It
/// records the requested ranges.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

fn serve(content: Vec<u8>, does: Vec<Does>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = asked.clone();
    std::thread::spawn(move || {
        let content = Arc::new(content);
        for (number, stream) in listener.incoming().enumerate() {
            let does = does[number.min(does.len() - 1)];
            let (content, notes) = (content.clone(), notes.clone());
            // One thread per request: a stalled one must not block the next.
            std::thread::spawn(move || answer(stream.unwrap(), &content, does, &notes));
        }
    });
    Server { address, asked }
}

fn answer(mut stream: TcpStream, content: &[u8], does: Does, notes: &Mutex<Vec<String>>) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let request: Vec<String> = lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
    let range = request.iter().find_map(|line| line.strip_prefix("range: bytes=")).unwrap_or_default();
    notes.lock().unwrap().push(range.to_string());
    let start = range.trim_end_matches('-').parse::<usize>().unwrap_or(0);
    let (start, sent, shown) = match does {
        Does::Cuts(count) => (start, count, start),
        Does::Serves => (start, content.len(), start),
        Does::KnowsNoRanges(count) => (0, count, 0),
        Does::Misunderstands => (start, content.len(), start + 1),
        Does::Stalls => return std::thread::sleep(Duration::from_secs(2)),
        Does::Answers(status) => {
            stream.write_all(format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
            return;
        }
    };
    let rest = &content[start.min(content.len())..];
    let head = match start {
        0 => "HTTP/1.1 200 OK\r\n".to_string(),
        _ => {
            format!("HTTP/1.1 206 Partial\r\nContent-Range: bytes {shown}-{}/{}\r\n", content.len() - 1, content.len())
        }
    };
    let head = format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n", rest.len());
    // A client that has disconnected is no error.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&rest[..sent.min(rest.len())]));
}

fn content() -> Vec<u8> {
    (0..300_000u64).map(|number| ((number * number) >> 7) as u8).collect()
}

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn try_it(does: Vec<Does>, md5: &str, file: &Path) -> (Result<()>, Vec<String>) {
    let server = serve(content(), does);
    let patience =
        Patience { tries: 3, wait: Duration::from_millis(1), connection: Duration::from_millis(500), most: 1 << 20 };
    let result = download(&format!("{}/set.tgz", server.address), md5, file, &patience, &Silent);
    let asked = server.asked.lock().unwrap().clone();
    (result, asked)
}

#[test]
fn a_download_that_is_cut_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("set.tgz");
    let does = vec![Does::Cuts(100_000), Does::Answers(503), Does::Cuts(50_000), Does::Stalls, Does::Serves];
    let (result, asked) = try_it(does, &md5(&content()), &file);
    result.unwrap();
    assert_eq!(fs::read(&file).unwrap(), content());
    assert_eq!(asked, ["", "100000-", "100000-", "150000-", "150000-"]);
    assert!(
        try_it(vec![Does::Answers(404)], &md5(&content()), &file).0.is_ok(),
        "an existing file is not fetched again"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_server_without_ranges_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("set.tgz");
    let (result, asked) = try_it(vec![Does::Cuts(70_000), Does::KnowsNoRanges(300_000)], &md5(&content()), &file);
    result.unwrap();
    assert_eq!((fs::read(&file).unwrap(), asked.len()), (content(), 2));
}

#[test]
fn a_download_that_brings_nothing_is_given_up_and_goes_on_later() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("set.tgz");
    let (result, asked) = try_it(vec![Does::Cuts(70_000), Does::Cuts(0)], &md5(&content()), &file);
    let message = result.unwrap_err().chain();
    assert!(message.contains("70000 bytes are in") && message.contains("run the same command again"), "{message}");
    assert_eq!((asked.len(), file.exists()), (4, false));
    let (result, asked) = try_it(vec![Does::Serves], &md5(&content()), &file);
    result.unwrap();
    assert_eq!((fs::read(&file).unwrap(), asked), (content(), vec!["70000-".to_string()]));
}

#[test]
fn a_server_that_never_sends_it_whole_and_knows_no_ranges_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (result, asked) = try_it(vec![Does::KnowsNoRanges(1000)], &md5(&content()), &folder.path().join("set.tgz"));
    assert!(result.is_err() && asked.len() == 4, "{asked:?}");
}

#[test]
fn a_wrong_checksum_is_refused_with_both_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("set.tgz");
    let message = try_it(vec![Does::Serves], &md5(b"other"), &file).0.unwrap_err().chain();
    assert!(message.contains(&md5(b"other")) && message.contains(&md5(&content())), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    fs::write(&file, "something else").unwrap();
    let message = try_it(vec![Does::Serves], &md5(&content()), &file).0.unwrap_err().chain();
    assert!(message.contains("set.tgz") && message.contains("delete it"), "{message}");
    assert_eq!(fs::read(&file).unwrap(), b"something else");
}

#[test]
fn refusals_and_misunderstandings_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("set.tgz");
    let message = try_it(vec![Does::Answers(404)], &md5(&content()), &file).0.unwrap_err().chain();
    assert!(message.contains("/set.tgz") && message.contains("404"), "{message}");
    let message = try_it(vec![Does::Cuts(10), Does::Misunderstands], &md5(&content()), &file).0.unwrap_err().chain();
    assert!(message.contains("from 10 on") && message.contains("bytes 11-"), "{message}");
}

#[test]
fn a_server_that_sends_more_than_a_set_can_have_is_refused_before_the_disk_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("set.tgz");
    let server = serve(content(), vec![Does::Serves]);
    let patience = Patience { tries: 1, wait: Duration::ZERO, connection: Duration::from_millis(500), most: 200_000 };
    let result = download(&format!("{}/set.tgz", server.address), &md5(&content()), &file, &patience, &Silent);
    let message = result.unwrap_err().chain();
    assert!(message.contains("sends 300000 bytes") && message.contains("may have 200000"), "{message}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
