//! Pickles that are read, and pickles that are refused.

use super::*;

/// Opcodes as in `pickletools`: what Python writes for `collections.OrderedDict()` with one tensor
/// of two by three.
fn table(size: &[u8], offset: u8) -> Vec<u8> {
    let mut bytes = b"\x80\x02ccollections\nOrderedDict\n)RX\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
    bytes.extend(b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ");
    bytes.extend([b'K', offset]);
    bytes.extend(size);
    bytes.extend(b"K\x03K\x01\x86\x89N)tRs.");
    bytes
}

#[test]
fn a_table_of_tensors_is_read() {
    let bytes = table(b"K\x02K\x03\x86", 0);
    let pickle = Pickle::read(&bytes).unwrap();
    let table = pickle.table(pickle.top).unwrap();
    let (view, storage) = pickle.tensor(table[0].1).unwrap();
    assert_eq!((table[0].0, &view.size[..], &view.stride[..], view.offset), ("w", &[2, 3][..], &[3, 1][..], 0));
    assert_eq!((storage.kind, pickle.key(storage), storage.count), (Kind::Float, "0", 6));
}

#[test]
fn a_tensor_that_leaves_its_storage_is_refused() {
    for (size, offset) in [(&b"K\x02K\x03\x86"[..], 1), (b"K\x03K\x03\x86", 0), (b"J\xff\xff\xff\xff\x85t(", 0)] {
        assert!(Pickle::read(&table(size, offset)).is_err(), "{size:?} {offset}");
    }
}

#[test]
fn what_a_table_does_not_need_is_refused_by_name() {
    let refused = |bytes: &[u8]| Pickle::read(bytes).map(|_| ()).unwrap_err();
    assert!(refused(b"\x80\x02cos\nsystem\nX\x04\0\0\0trueq\0\x85R.").contains("`os.system`"));
    assert!(refused(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.").contains("`builtins.eval`"));
    assert!(refused(b"\x80\x02ctorch\nQIntStorage\n.").contains("`torch.QIntStorage`"));
    assert!(refused(b"(i__main__\nX\n.").contains("0x69"), "INST builds an object");
    assert!(refused(b"ccollections\nOrderedDict\nK\x01\x85R.").contains("makes no tensor"));
}

/// Every prefix of a pickle and every change of one byte is read or refused; none crashes the
/// program.
#[test]
fn damaged_pickles_are_answered() {
    let whole = table(b"K\x02K\x03\x86", 0);
    let mut refused = 0;
    for end in 0..whole.len() {
        assert!(Pickle::read(&whole[..end]).is_err(), "cut after {end} bytes");
    }
    for place in 0..whole.len() {
        for value in 0..=255 {
            let mut bytes = whole.clone();
            bytes[place] = value;
            refused += usize::from(Pickle::read(&bytes).is_err());
        }
    }
    assert!(refused > 10_000, "{refused}");
}
