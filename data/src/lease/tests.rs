use super::*;

const SHORT: Duration = Duration::from_millis(400);

fn ours(folder: &Path) -> Lease {
    match Lease::take_for(folder, SHORT).unwrap() {
        Taking::Ours(lease) => lease,
        Taking::Theirs(holder) => panic!("{holder} has it"),
    }
}

/// Takes a folder as soon as it is free.
fn soon(folder: &Path) -> Lease {
    loop {
        match Lease::take_for(folder, SHORT).unwrap() {
            Taking::Ours(lease) => return lease,
            Taking::Theirs(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Writes a lease as another process would, at this time.
fn foreign(folder: &Path, number: u32, change: impl FnOnce(&mut Holder)) {
    fs::create_dir_all(folder).unwrap();
    let mut holder = Holder { host: "n7".into(), space: "elsewhere".into(), ..Holder::this(SHORT) };
    change(&mut holder);
    fs::write(path(folder, number), holder.bytes()).unwrap();
}

/// Dates a lease into the past.
fn age(folder: &Path, number: u32) {
    let file = OpenOptions::new().write(true).open(path(folder, number)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
}

#[test]
fn one_of_many_threads_takes_a_folder_and_the_next_comes_when_it_ends() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("trial");
    let all: Vec<Taking> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Lease::take_for(&folder, SHORT).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let held = all.iter().filter(|taking| matches!(taking, Taking::Ours(..))).count();
    assert_eq!(held, 1, "of {}", all.len());
    // It is renewed: it stays taken for longer than the silence that would end it.
    std::thread::sleep(SHORT * 2);
    let refused = Lease::only(&folder).err().unwrap().chain();
    assert!(refused.contains(&format!("process {} on ", std::process::id())), "{refused}");
    drop(all);
    let second = ours(&folder);
    assert_eq!(second.number(), 2);
    second.fail();
    assert_eq!(Lease::failed(&folder).unwrap(), Some((2, true)));
}

#[test]
fn a_silent_holder_is_watched_and_taken_over_and_learns_of_it() {
    let home = tempfile::tempdir().unwrap();
    // A process of another machine that lives nowhere: only its silence ends it.
    foreign(home.path(), 1, |_| {});
    assert!(!Lease::holder(home.path()).unwrap().unwrap().is_ending());
    age(home.path(), 1);
    // Its date may be that of another clock.
    assert!(Lease::holder(home.path()).unwrap().expect("it is watched first").is_ending());
    std::thread::sleep(SHORT / BEATS);
    foreign(home.path(), 1, |holder| holder.beat = 1);
    age(home.path(), 1);
    std::thread::sleep(SHORT * MISSED / BEATS);
    assert!(Lease::holder(home.path()).unwrap().is_some(), "it was renewed");
    let lease = soon(home.path());
    assert!(!lease.check_lost() && lease.number() == 2);
    // This process was frozen, and another one took over meanwhile.
    foreign(home.path(), 3, |_| {});
    std::thread::sleep(SHORT / BEATS * 3);
    assert!(lease.is_lost());
    let newest = fs::read(path(home.path(), 3)).unwrap();
    drop(lease);
    assert_eq!(fs::read(path(home.path(), 3)).unwrap(), newest, "a lost lease touches no other");
}

#[test]
fn a_dead_process_of_this_machine_is_recognised_at_once_and_its_children_count() {
    let home = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let dead = Process { pid: std::process::id(), start: 1 };
    let (here, running) = (space(), Process::of(child.id()).unwrap());
    let name = here.clone();
    foreign(home.path(), 1, move |holder| (holder.space, holder.processes) = (name, vec![dead, running]));
    let holder = Lease::holder(home.path()).unwrap().expect("its child lives");
    assert!(holder.is_ending());
    child.kill().unwrap();
    child.wait().unwrap();
    drop(ours(home.path()));
    // A lease of an earlier start of this machine, or of another container, says nothing of here.
    let other = tempfile::tempdir().unwrap();
    foreign(other.path(), 1, |holder| (holder.space, holder.processes) = (format!("{here}1"), vec![dead]));
    assert!(Lease::holder(other.path()).unwrap().is_some());
}

#[test]
fn no_two_holders_that_may_be_alive_write_to_one_attempt() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    let open = |lease: &Lease| attempt::open(folder, lease, "checkpoint");
    let write = |name: &str| fs::write(folder.join(name), name).unwrap();
    ["checkpoint", "metrics.jsonl", ".tmpAbc"].into_iter().for_each(write);
    let first = ours(folder);
    assert_eq!(open(&first).unwrap(), folder);
    assert!(!folder.join(".tmpAbc").exists(), "a killed process left it");
    write(".tmpDef");
    drop(first);
    // One that ended is followed in place; this one freezes.
    foreign(folder, 2, |holder| holder.attempt = Some(0));
    age(folder, 2);
    // The next one dies before it makes its own attempt.
    drop(soon(folder));
    let fourth = ours(folder);
    let place = open(&fourth).unwrap();
    assert!(place.ends_with("attempt-00004") && attempt::newest(folder).unwrap() == place);
    let mut names: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["checkpoint", "metrics.jsonl"]);
    drop(fourth);
    let fifth = ours(folder);
    assert_eq!(open(&fifth).unwrap(), place, "the frozen one does not write there");
    // It wakes up before it has opened anything: its lease is lost.
    foreign(folder, 6, |_| {});
    assert!(open(&fifth).unwrap_err().chain().contains("another process has taken over"));
}
