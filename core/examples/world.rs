//! Writes images of the embedded world to standard output, as rows of CIFAR-10's binary version: a
//! byte of label, then 32 x 32 pixels of red, of green and of blue.
//! `tests/fixtures/downstream/make.py` writes the downstream fixtures with it.
//!
//!     world 10 8 > rows.bin       # 8 images of each of the first 10 classes, class by class

use gauntlet::Result;
use gauntlet::data::{DataRow, Row, Source, world::World};
use gauntlet::progress::Silent;
use std::io::Write;

/// No suite uses this seed: the images are new to a model that was trained on the world.
const SEED: u64 = 2023;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers = std::env::args().skip(1).map(|number| number.parse::<u32>());
    let [classes, each] = numbers.collect::<Result<Vec<_>, _>>()?[..] else {
        return Err("give the number of classes, and of images of each".into());
    };
    let world = World { pairs: (classes * each * 10).max(100), classes, seed: SEED, ..World::default() };
    let source = world.open()?;
    let mut labels = Vec::new();
    source.scan(1, &Silent, &mut |entry| {
        labels.push(entry.expect("the world has no bad rows").label);
        Ok(())
    })?;
    let names = source.classes()?.expect("the world knows its classes").classes;
    let mut out = std::io::stdout().lock();
    for (class, label) in names.keys().zip(0u8..) {
        let rows = (0..).zip(&labels).filter(|(_, of)| of.as_ref() == Some(class)).map(|(number, _)| number);
        for number in rows.take(each as usize) {
            let row =
                Row { number: DataRow(number), key: "", caption: "", class: None, file: 0, start: 0, size: 0, seen: 0 };
            out.write_all(&[label])?;
            out.write_all(&source.image(&row, 32)?)?;
        }
    }
    Ok(())
}
