//! The attention block: `x += o(attention(q, k, v of norm(x)))`, forward and backward.

use hone_device::{
    Buffer, LayerCache,
    ops::{Norm, Projection, Scores},
};

use super::{
    adapted::{Adapted, project, project_backward},
    backward::{BackwardPass, norm_with_inverse},
    residual::BlockEnd,
    step::{Buffers, LayerPass, Saved},
};
use crate::lora::Group;

/// The weights of an attention block, and how its layer sees.
#[derive(Debug)]
pub(crate) struct Attention {
    /// RMSNorm before the block.
    pub(crate) norm: Option<Buffer>,
    /// Queries.
    pub(crate) q: Projection,
    /// Keys.
    pub(crate) k: Projection,
    /// Values.
    pub(crate) v: Projection,
    /// Norms of queries and of keys: of each head, or of all together.
    pub(crate) qk_norms: Option<[Buffer; 2]>,
    /// Attention output.
    pub(crate) o: Projection,
    /// RMSNorm on the block's result.
    pub(crate) norm_after: Option<Buffer>,
    /// Scale, cap and window of the scores.
    pub(crate) scores: Scores,
    /// Which rotation; `None` is none.
    pub(crate) rotary: Option<usize>,
}

impl Attention {
    fn end(&self, eps: f32) -> BlockEnd<'_> {
        let norm = self.norm_after.as_ref().map(|weight| Norm { weight, eps });
        BlockEnd { linear: &self.o, norm, group: Group::O }
    }

    /// Adds the block's result to `x`, of which only the rows that go on are left; appends the rows' keys and values to
    /// `caches`, one for each span, with room made.
    pub(crate) fn forward(
        &self,
        pass: &LayerPass<'_>,
        caches: &mut [&mut LayerCache],
        x: &mut Buffer,
        b: &mut Buffers,
        mut sink: Option<&mut Saved>,
    ) {
        let (step, device, config) = (pass.step, pass.step.device, pass.step.config);
        let eps = config.rms_norm_eps;
        let rows = x.len() / config.hidden_size;
        let (q, kv) = (config.q_width(), config.kv_width());
        device.resize(&mut b.q, rows * q);
        device.resize(&mut b.k, rows * kv);
        device.resize(&mut b.v, rows * kv);
        let input = match &self.norm {
            Some(weight) => {
                device.resize(&mut b.normed, x.len());
                device.norm(Norm { weight, eps }, x, &mut b.normed, None);
                &b.normed
            }
            None => &*x,
        };
        let [raw_q, raw_k] = &mut b.raw;
        let (to_q, to_k) = match self.qk_norms {
            Some(_) => {
                device.resize(raw_q, rows * q);
                device.resize(raw_k, rows * kv);
                (&mut *raw_q, &mut *raw_k)
            }
            None => (&mut b.q, &mut b.k),
        };
        let mut outputs = [(&self.q, to_q), (&self.k, to_k), (&self.v, &mut b.v)];
        let adapted = (Group::Qkv, pass.loras);
        project(pass, adapted, input, &mut outputs, None, &mut b.lora_hidden);
        if let Some(sink) = sink.as_deref_mut() {
            sink.lora_hidden[Group::Qkv as usize] = std::mem::take(&mut b.lora_hidden);
        }
        if let Some([q_norm, k_norm]) = &self.qk_norms {
            device.norm(Norm { weight: q_norm, eps }, raw_q, &mut b.q, None);
            device.norm(Norm { weight: k_norm, eps }, raw_k, &mut b.k, None);
        }
        if let Some(kind) = self.rotary {
            device.rotate(&step.angles[kind], config.head_dim, &mut b.q, q);
            device.rotate(&step.angles[kind], config.head_dim, &mut b.k, kv);
        }
        let rows = step.attention(self.scores);
        device.resize(&mut b.attended, rows.rows() * q);
        if let Some(prefixes) = step.prefixes {
            let copied = |rows: &Buffer, width| prefixes.copied(device, rows, width);
            device.store(rows, caches, &copied(&b.k, kv), &copied(&b.v, kv));
            device.attend(rows, caches, &copied(&b.q, q), &mut b.attended);
            prefixes.once(device, &mut b.attended, q);
        } else {
            device.store(rows, caches, &b.k, &b.v);
            device.attend(rows, caches, &b.q, &mut b.attended);
        }

        pass.gather_rows_after(&mut b.attended, q);
        pass.gather_rows_after(x, config.hidden_size);
        let rest = (&mut b.result, &mut b.lora_hidden);
        self.end(eps).forward(pass, pass.loras_after, &b.attended, x, rest);
        if let Some(sink) = sink {
            sink.lora_hidden[Group::O as usize] = std::mem::take(&mut b.lora_hidden);
            sink.q = std::mem::take(&mut b.q);
            sink.k = std::mem::take(&mut b.k);
            sink.v = std::mem::take(&mut b.v);
            sink.raw = std::mem::take(&mut b.raw);
            sink.attended = std::mem::take(&mut b.attended);
            sink.results[0] = std::mem::take(&mut b.result[0]);
        }
    }

    /// The gradient of the block's input `x`, from that of its result. It is left out with `input` false: nothing below
    /// the first layer learns.
    pub(crate) fn backward(
        &self,
        t: &mut BackwardPass<'_>,
        x: &Buffer,
        saved: &Saved,
        dy: Buffer,
        input: bool,
    ) -> Option<Buffer> {
        let (pass, config) = (t.pass, t.pass.step.config);
        let (step, device, eps) = (pass.step, pass.step.device, config.rms_norm_eps);
        let (q, kv, hidden) = (config.q_width(), config.kv_width(), config.hidden_size);
        let rows = step.rows();

        // middle = x + o(attention)
        let d_result = self.end(eps).backward(&pass, &saved.results[0], &dy);
        let mut d_attended = device.zeros(saved.attended.len());
        device.product_backward(&self.o.weight, &d_result, &mut d_attended, None);
        let group = Group::O;
        let adapted = Adapted { group, x: &saved.attended, hidden: t.hidden(saved, group) };
        project_backward(t, adapted, &[&d_result], Some(&mut d_attended));

        let d_attended = pass.scatter_rows_after(d_attended, q);
        let mut dx = pass.scatter_rows_after(dy, hidden);
        let attended = step.attention(self.scores);
        let (inputs, widths) = ([&saved.q, &saved.k, &saved.v], [q, kv, kv]);
        let [mut d_q, mut d_k, d_v] = match step.prefixes {
            None => device.attend_backward(attended, inputs, &d_attended),
            Some(prefixes) => {
                let [q_rows, k_rows, v_rows] =
                    [0, 1, 2].map(|of| prefixes.copied(device, inputs[of], widths[of]));
                let d_attended = prefixes.once_backward(device, d_attended, q);
                let inputs = [&q_rows, &k_rows, &v_rows];
                let copies = device.attend_backward(attended, inputs, &d_attended);
                [0, 1, 2].map(|of| prefixes.summed(device, &copies[of], widths[of]))
            }
        };
        if let Some(kind) = self.rotary {
            device.rotate_backward(&step.angles[kind], config.head_dim, &mut d_q, q);
            device.rotate_backward(&step.angles[kind], config.head_dim, &mut d_k, kv);
        }
        if let Some([q_norm, k_norm]) = &self.qk_norms {
            let back = |weight: &Buffer, raw: &Buffer, gradient: &Buffer| {
                let norm = Norm { weight, eps };
                let (_, inverse) = norm_with_inverse(device, norm, raw);
                let mut d_raw = device.zeros(raw.len());
                device.norm_backward(norm, (raw, &inverse), gradient, &mut d_raw);
                d_raw
            };
            d_q = back(q_norm, &saved.raw[0], &d_q);
            d_k = back(k_norm, &saved.raw[1], &d_k);
        }

        // q, k and v read the norm of the input
        let norm = self.norm.as_ref().map(|weight| Norm { weight, eps });
        let normed = norm.map(|norm| norm_with_inverse(device, norm, x));
        let read = normed.as_ref().map_or(x, |(rows, _)| rows);
        let group = Group::Qkv;
        let adapted = Adapted { group, x: read, hidden: t.hidden(saved, group) };
        if !input {
            project_backward(t, adapted, &[&d_q, &d_k, &d_v], None);
            return None;
        }
        let mut d_read = device.zeros(rows * hidden);
        device.product_backward(&self.q.weight, &d_q, &mut d_read, None);
        device.product_backward(&self.k.weight, &d_k, &mut d_read, Some(1.0));
        device.product_backward(&self.v.weight, &d_v, &mut d_read, Some(1.0));
        project_backward(t, adapted, &[&d_q, &d_k, &d_v], Some(&mut d_read));
        let inverse = normed.as_ref().map(|(_, inverse)| inverse);
        t.norm_backward(norm.zip(inverse), x, &d_read, &mut dx);
        Some(dx)
    }
}
