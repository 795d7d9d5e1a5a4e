//! Numbers that come and go, and rows that move.

use hone_device::{
    Buffer, Cpu, Reference,
    ops::{MemoryOps as _, RowOps as _},
};

use super::cases::{agree, devices, random, upload};

#[test]
fn what_is_uploaded_is_downloaded() {
    let values = random(1, 37);
    for tested in devices() {
        let device = &*tested.device;
        assert_eq!(device.download(upload(device, &values)), values);
        assert_eq!(device.download(device.zeros(3)), [0.0; 3]);
        let mut buffer = device.zeros(1);
        for values in [&values[..], &[7.0], &[1.0, 2.0, 3.0]] {
            device.write(&mut buffer, values);
            assert_eq!(buffer.len(), values.len());
            let mut there = vec![5.0];
            device.download_into(&mut buffer, &mut there);
            assert_eq!(there, values);
        }
    }
    assert_eq!(Reference.download(upload(&Reference, &values)), values);
}

#[test]
fn rows_are_gathered_and_scattered() {
    let (values, chosen) = (random(2, 7 * 5), [0, 3, 6]);
    agree("rows", 0.0, |device| {
        let mut some = upload(device, &values);
        device.gather_rows(&mut some, &chosen, 5);
        let part = device.copy(&some, 5..10);
        let copy = device.copy(&some, 0..some.len());
        vec![part, copy, device.scatter_rows(some, &chosen, 7, 5)]
    });
    let mut some = upload(&Reference, &values);
    Reference.gather_rows(&mut some, &chosen, 5);
    assert_eq!(Reference.download(some)[5..10], values[15..20]);
    let all = Reference.scatter_rows(upload(&Reference, &values[..5]), &[1], 3, 5);
    assert_eq!(Reference.download(all), [&[0.0; 5], &values[..5], &[0.0; 5]].concat());
}

#[test]
fn rows_are_copied_and_their_gradients_summed() {
    let (values, index) = (random(3, 4 * 5), [0, 2, 0, 3, 0]);
    agree("copies", 1e-6, |device| {
        let copies = device.index_select(&upload(device, &values), &index, 5);
        let summed = device.index_add(&copies, &index, 4, 5);
        vec![copies, summed]
    });
    let copies = Reference.index_select(&upload(&Reference, &values), &index, 5);
    let summed = Reference.download(Reference.index_add(&copies, &index, 4, 5));
    assert_eq!(Reference.download(copies)[10..15], values[..5]);
    let thrice: Vec<f32> = values[..5].iter().map(|value| 3.0 * value).collect();
    assert_eq!(summed, [&thrice, &[0.0; 5][..], &values[10..]].concat());
}

#[test]
fn a_buffer_of_another_device_is_refused() {
    let cpu = Cpu::new(1).unwrap();
    let foreign = upload(&Reference, &[1.0, 2.0]);
    let mut out = cpu.zeros(2);
    let add = std::panic::AssertUnwindSafe(|| cpu.add_scaled(&mut out, &foreign, 1.0, 2));
    assert!(std::panic::catch_unwind(add).is_err());
    let mut reused = Buffer::default();
    Reference.resize(&mut reused, 4);
    // Working memory may pass from one to the other: what it held is left open anyway.
    cpu.resize(&mut reused, 3);
    assert_eq!(cpu.download(reused).len(), 3);
}
