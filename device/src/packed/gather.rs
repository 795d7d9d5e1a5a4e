//! Rows of a matrix side by side.

use super::shape::LANES;

/// The inputs `from..` of up to 16 rows, a lane each; `columns` holds the rows one after the other. Lanes and inputs that are
/// not there are zero.
pub(super) fn gather(inputs: usize, columns: &[f32], from: usize, block: &mut [[f32; LANES]]) {
    let end = (from + block.len()).min(inputs);
    for (lane, column) in columns.chunks_exact(inputs).enumerate() {
        let values = &column[from.min(end)..end];
        for (row, value) in block.iter_mut().zip(values) {
            row[lane] = *value;
        }
        for row in &mut block[values.len()..] {
            row[lane] = 0.0;
        }
    }
}
