//! Lists of sets, read as rows and written again with some of them changed: the tools for applying
//! damage.

use super::*;
use crate::downstream::mat::Mat;
use crate::downstream::pickle::Pickle;

/// A row of a list: the name of the image (or its pixels), and its label. One of them is empty if
/// the list has none.
pub(super) type Row = (Vec<u8>, String);

/// How to read and write a list. Row numbers and labels are as in the file.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) read: fn(&Path) -> Vec<Row>,
    pub(super) write: fn(&Path, &[Row]),
}

fn rows_of_text(path: &Path, split: fn(&str) -> (&str, &str)) -> Vec<Row> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(split).map(|(image, label)| (image.into(), label.into())).collect()
}

fn write_text(path: &Path, rows: &[Row], join: fn(&str, &str) -> String) {
    let line = |(image, label): &Row| join(std::str::from_utf8(image).unwrap(), label) + "\n";
    fs::write(path, rows.iter().map(line).collect::<String>()).unwrap();
}

/// A line is a path, as in DTD.
pub(super) const PATHS: Form = Form {
    read: |path| rows_of_text(path, |line| (line, "")),
    write: |path, rows| write_text(path, rows, |image, _| image.into()),
};

/// A line is a number, as in ImageNet's development kit; or a name of a class.
pub(super) const LABELS: Form = Form {
    read: |path| rows_of_text(path, |line| ("", line)),
    write: |path, rows| write_text(path, rows, |_, label| label.into()),
};

/// An image, a space, its class and further fields, as in Aircraft and Pets.
pub(super) const SPACED: Form = Form {
    read: |path| rows_of_text(path, |line| line.split_once(' ').unwrap()),
    write: |path, rows| write_text(path, rows, |image, label| format!("{image} {label}")),
};

/// Paths by class, as in Food-101.
pub(super) const FOOD: Form = Form {
    read: |path| {
        let classes: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let images = classes.values().flat_map(|images| images.as_array().unwrap());
        images.map(|image| (image.as_str().unwrap().into(), String::new())).collect()
    },
    write: |path, rows| {
        let mut classes: Vec<(&str, Vec<&str>)> = Vec::new();
        for image in rows.iter().map(|(image, _)| std::str::from_utf8(image).unwrap()) {
            let class = image.split('/').next().unwrap();
            match classes.iter_mut().find(|(known, _)| *known == class) {
                Some((_, images)) => images.push(image),
                None => classes.push((class, vec![image])),
            }
        }
        let classes = classes.iter().map(|(class, images)| format!("{class:?}: {images:?}")).collect::<Vec<_>>();
        fs::write(path, format!("{{{}}}\n", classes.join(", "))).unwrap();
    },
};

/// Numbers of images, or their labels, in a variable of a MATLAB file.
fn read_numbers(path: &Path, name: &str) -> Vec<f64> {
    Mat::read(path).unwrap().numbers(name, 0..=usize::MAX).unwrap().into_iter().map(|number| number as f64).collect()
}

fn numbers(rows: &[Row]) -> Value {
    Value::Numbers(rows.iter().map(|(_, label)| label.parse().unwrap()).collect())
}

/// The labels of Flowers-102.
pub(super) const FLOWER_LABELS: Form = Form {
    read: |path| read_numbers(path, "labels").iter().map(|label| (Vec::new(), label.to_string())).collect(),
    write: |path, rows| fs::write(path, mat(&[("labels", numbers(rows))])).unwrap(),
};

/// The images of the test split of Flowers-102; their numbers serve as labels.
pub(super) const FLOWER_PARTS: Form = Form {
    read: |path| read_numbers(path, "tstid").iter().map(|label| (Vec::new(), label.to_string())).collect(),
    write: |path, rows| {
        let [fit, valid] = ["trnid", "valid"].map(|name| Value::Numbers(read_numbers(path, name)));
        fs::write(path, mat(&[("trnid", fit), ("valid", valid), ("tstid", numbers(rows))])).unwrap();
    },
};

/// A list of Stanford Cars.
pub(super) const CARS: Form = Form {
    read: |path| {
        let mat = Mat::read(path).unwrap();
        let row = |item: &crate::downstream::mat::Struct| {
            let class = item.number("class", 0..=usize::MAX).unwrap();
            (item.text("fname").unwrap().into(), class.to_string())
        };
        mat.structs("annotations").unwrap().iter().map(row).collect()
    },
    write: |path, rows| {
        let row = |(image, label): &Row| {
            vec![
                ("class", Value::Numbers(vec![label.parse().unwrap()])),
                ("fname", Value::Text(String::from_utf8(image.clone()).unwrap())),
            ]
        };
        fs::write(path, mat(&[("annotations", Value::Structs(rows.iter().map(row).collect()))])).unwrap();
    },
};

/// The classes of Stanford Cars.
pub(super) const CAR_CLASSES: Form = Form {
    read: |path| {
        let classes = Mat::read(path).unwrap().texts("class_names").unwrap();
        classes.into_iter().map(|class| (Vec::new(), class)).collect()
    },
    write: |path, rows| {
        let classes = rows.iter().map(|(_, class)| Value::Text(class.clone())).collect();
        fs::write(path, mat(&[("class_names", Value::Cells(classes))])).unwrap();
    },
};

/// The classes of ImageNet's development kit, by WordNet id, with their numbers; the last is a
/// group of them.
pub(super) const META: Form = Form {
    read: |path| {
        let mat = Mat::read(path).unwrap();
        let row = |item: &crate::downstream::mat::Struct| {
            let number = item.number("ILSVRC2012_ID", 0..=usize::MAX).unwrap();
            (item.text("WNID").unwrap().into(), number.to_string())
        };
        mat.structs("synsets").unwrap().iter().map(row).collect()
    },
    write: |path, rows| {
        let row = |(id, number): &Row| {
            let children = if id == b"n00001740" { 2.0 } else { 0.0 };
            vec![
                ("ILSVRC2012_ID", Value::Numbers(vec![number.parse().unwrap()])),
                ("WNID", Value::Text(String::from_utf8(id.clone()).unwrap())),
                ("num_children", Value::Numbers(vec![children])),
            ]
        };
        fs::write(path, mat(&[("synsets", Value::Structs(rows.iter().map(row).collect()))])).unwrap();
    },
};

/// A batch of CIFAR-10: the image is its pixels.
pub(super) const BATCH: Form = Form { read: |path| read_batch(path, "labels"), write: write_ten };
/// A part of CIFAR-100.
pub(super) const PART: Form = Form { read: |path| read_batch(path, "fine_labels"), write: write_hundred };

fn read_batch(path: &Path, key: &str) -> Vec<Row> {
    let bytes = fs::read(path).unwrap();
    let pickle = Pickle::read(&bytes).unwrap();
    let pixels = pickle.bytes(&pickle.array("data").unwrap().bytes).chunks(3072);
    pixels.zip(pickle.numbers(key).unwrap()).map(|(pixels, label)| (pixels.to_vec(), label.to_string())).collect()
}

fn write_ten(path: &Path, rows: &[Row]) {
    fs::write(path, batch("labels", rows)).unwrap();
}

fn write_hundred(path: &Path, rows: &[Row]) {
    fs::write(path, batch("fine_labels", rows)).unwrap();
}

/// The classes of CIFAR-10, and of CIFAR-100.
pub(super) const NAMES: Form = Form { read: |path| read_names(path, "label_names"), write: write_names };
pub(super) const FINE_NAMES: Form = Form { read: |path| read_names(path, "fine_label_names"), write: write_names };

fn read_names(path: &Path, key: &str) -> Vec<Row> {
    let bytes = fs::read(path).unwrap();
    Pickle::read(&bytes).unwrap().strings(key).unwrap().into_iter().map(|name| (Vec::new(), name)).collect()
}

fn write_names(path: &Path, rows: &[Row]) {
    let key = if path.ends_with("meta") { "fine_label_names" } else { "label_names" };
    let short = |text: &str| [b"U".to_vec(), vec![text.len() as u8], text.as_bytes().to_vec()].concat();
    let names = rows.iter().flat_map(|(_, name)| short(name)).collect();
    fs::write(path, [b"\x80\x02}(".to_vec(), short(key), b"](".to_vec(), names, b"eu.".to_vec()].concat()).unwrap();
}

/// A pickle as written by Python 2.
fn batch(key: &str, rows: &[Row]) -> Vec<u8> {
    let short = |text: &str| [b"U".to_vec(), vec![text.len() as u8], text.as_bytes().to_vec()].concat();
    let int = |number: i32| [b"J".to_vec(), number.to_le_bytes().to_vec()].concat();
    let label = |(_, label): &Row| match label.parse::<i32>() {
        Ok(number) => int(number),
        Err(_) => [b"G".to_vec(), label.parse::<f64>().unwrap().to_be_bytes().to_vec()].concat(),
    };
    let pixels: Vec<u8> = rows.iter().flat_map(|(pixels, _)| pixels.clone()).collect();
    [
        [b"\x80\x02}(".to_vec(), short(key), b"](".to_vec()].concat(),
        rows.iter().flat_map(label).collect(),
        [
            b"e".to_vec(),
            short("data"),
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R".to_vec(),
        ]
        .concat(),
        [b"(K\x01".to_vec(), int(rows.len() as i32), int(3072), b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R".to_vec()]
            .concat(),
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T".to_vec(),
        [(pixels.len() as u32).to_le_bytes().to_vec(), pixels, b"tbu.".to_vec()].concat(),
    ]
    .concat()
}

/// A value of a MATLAB file.
#[derive(Clone)]
pub(super) enum Value {
    Numbers(Vec<f64>),
    Text(String),
    Cells(Vec<Value>),
    /// All with the same fields.
    Structs(Vec<Vec<(&'static str, Value)>>),
}

/// A MATLAB file of version 5, not compressed.
pub(super) fn mat(variables: &[(&str, Value)]) -> Vec<u8> {
    let mut head = b"MATLAB 5.0 MAT-file, made by a test".to_vec();
    head.resize(124, b' ');
    let matrices = variables.iter().flat_map(|(name, value)| matrix(name, value));
    head.into_iter().chain(*b"\x00\x01IM").chain(matrices).collect()
}

fn element(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn matrix(name: &str, value: &Value) -> Vec<u8> {
    let (class, count, data) = match value {
        Value::Numbers(numbers) => {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            (6u32, numbers.len(), element(9, &bytes))
        }
        Value::Text(text) => {
            let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            (4, text.encode_utf16().count(), element(4, &units))
        }
        Value::Cells(cells) => (1, cells.len(), cells.iter().flat_map(|cell| matrix("", cell)).collect()),
        Value::Structs(structs) => {
            let field = |(name, _): &(&str, Value)| {
                let mut name = name.as_bytes().to_vec();
                name.resize(32, 0);
                name
            };
            let names: Vec<u8> = structs[0].iter().flat_map(field).collect();
            let values = structs.iter().flatten().flat_map(|(_, value)| matrix("", value));
            (2, structs.len(), [element(5, &32u32.to_le_bytes()), element(1, &names), values.collect()].concat())
        }
    };
    let sides = [1u32.to_le_bytes(), (count as u32).to_le_bytes()].concat();
    let flags = [class.to_le_bytes(), [0; 4]].concat();
    element(14, &[element(6, &flags), element(5, &sides), element(1, name.as_bytes()), data].concat())
}
