use super::*;
use std::time::Instant;

const SHORT: Duration = Duration::from_millis(400);

fn ours(folder: &Path) -> (Lease, Before) {
    match Lease::take_for(folder, SHORT).unwrap() {
        Taking::Ours(lease, before) => (lease, before),
        Taking::Theirs(holder) => panic!("{holder} has it"),
    }
}

/// Writes a lease as another process would.
fn foreign(folder: &Path, number: u32, change: impl FnOnce(&mut Holder)) {
    fs::create_dir_all(folder).unwrap();
    let mut holder = Holder { host: "n7".into(), space: "elsewhere".into(), ..Holder::this(SHORT) };
    change(&mut holder);
    fs::write(path(folder, number), holder.bytes()).unwrap();
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
    let (second, before) = ours(&folder);
    assert_eq!((second.number(), before), (2, Before::Ended));
}

#[test]
fn a_silent_holder_is_taken_over_and_learns_of_it() {
    let home = tempfile::tempdir().unwrap();
    // A process of another machine that lives nowhere: only its silence ends it.
    foreign(home.path(), 1, |_| {});
    let began = Instant::now();
    let (lease, before) = loop {
        if let Taking::Ours(lease, before) = Lease::take_for(home.path(), SHORT).unwrap() {
            break (lease, before);
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(began.elapsed() >= SHORT && before == Before::Silent && lease.number() == 2);
    assert!(!lease.check_lost());
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
    assert_eq!(ours(home.path()).1, Before::Ended);
    // A lease of an earlier start of this machine, or of another container, says nothing of here.
    let other = tempfile::tempdir().unwrap();
    foreign(other.path(), 1, |holder| (holder.space, holder.processes) = (format!("{here}1"), vec![dead]));
    assert!(Lease::holder(other.path()).unwrap().is_some());
}
