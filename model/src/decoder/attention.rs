//! The attention block: `x += o(attention(q, k, v of norm(x)))`, forward and backward.

use super::{
    attend::{attend_backward, attend_rows, store},
    backward::BackwardPass,
    cache::LayerKv,
    residual::BlockEnd,
    rows::{Norm, keep_rows, rotate, rotate_backward, scatter},
    step::{Buffers, LayerPass, Saved},
};
use crate::lora::{Adapted, Group, project, project_backward};
use hone_device::{kernels::attention::Scores, linear::Projection};

/// The weights of an attention block, and how its layer sees.
#[derive(Debug)]
pub(crate) struct Attention {
    /// RMSNorm before the block.
    pub(crate) norm: Option<Vec<f32>>,
    /// Queries.
    pub(crate) q: Projection,
    /// Keys.
    pub(crate) k: Projection,
    /// Values.
    pub(crate) v: Projection,
    /// Norms of queries and of keys: of each head, or of all together.
    pub(crate) qk_norms: Option<[Vec<f32>; 2]>,
    /// Attention output.
    pub(crate) o: Projection,
    /// RMSNorm on the block's result.
    pub(crate) norm_after: Option<Vec<f32>>,
    /// Scale, cap and window of the scores.
    pub(crate) scores: Scores,
    /// Which rotation; `None` is none.
    pub(crate) rotary: Option<usize>,
}

impl Attention {
    fn end(&self, eps: f32) -> BlockEnd<'_> {
        let norm = self.norm_after.as_deref().map(|weight| Norm { weight, eps });
        BlockEnd { linear: &self.o, norm, group: Group::O }
    }

    /// Adds the block's result to `x`, of which only the rows that go on are left; appends the rows' keys and values to
    /// `caches`, one for each span, with room made.
    pub(crate) fn forward(
        &self,
        pass: &LayerPass<'_>,
        caches: &mut [&mut LayerKv],
        x: &mut Vec<f32>,
        b: &mut Buffers,
        mut sink: Option<&mut Saved>,
    ) {
        let (step, cpu, config) = (pass.step, pass.step.cpu, pass.step.config);
        let eps = config.rms_norm_eps;
        let rows = x.len() / config.hidden_size;
        let (q, kv) = (config.q_width(), config.kv_width());
        b.q.resize(rows * q, 0.0);
        b.k.resize(rows * kv, 0.0);
        b.v.resize(rows * kv, 0.0);
        b.attended.resize(rows * q, 0.0);
        let input = match &self.norm {
            Some(weight) => {
                b.normed.resize(x.len(), 0.0);
                Norm { weight, eps }.forward(cpu, x, &mut b.normed);
                &b.normed[..]
            }
            None => &x[..],
        };
        let adapted = (Group::Qkv, pass.loras, pass.dropout);
        let [raw_q, raw_k] = &mut b.raw;
        if self.qk_norms.is_some() {
            raw_q.resize(rows * q, 0.0);
            raw_k.resize(rows * kv, 0.0);
        }
        let (to_q, to_k) = match self.qk_norms {
            Some(_) => (&mut raw_q[..], &mut raw_k[..]),
            None => (&mut b.q[..], &mut b.k[..]),
        };
        let mut outputs = [(&self.q, to_q), (&self.k, to_k), (&self.v, &mut b.v[..])];
        project(cpu, &mut b.workspace, adapted, input, &mut outputs, None);
        if let Some(sink) = sink.as_deref_mut() {
            sink.lora_hidden[Group::Qkv as usize].clone_from(&b.workspace.lora_hidden);
        }
        if let Some([q_norm, k_norm]) = &self.qk_norms {
            Norm { weight: q_norm, eps }.forward(cpu, raw_q, &mut b.q);
            Norm { weight: k_norm, eps }.forward(cpu, raw_k, &mut b.k);
        }
        if let Some(kind) = self.rotary {
            rotate(cpu, &step.angles[kind], config.head_dim, &mut b.q, q);
            rotate(cpu, &step.angles[kind], config.head_dim, &mut b.k, kv);
        }
        store(step, caches, &b.k, &b.v);
        attend_rows(step, self.scores, caches, &b.q, &mut b.attended);

        keep_rows(&mut b.attended, pass.rows_after, q);
        keep_rows(x, pass.rows_after, config.hidden_size);
        let rest = (&mut b.result, &mut b.workspace);
        self.end(eps).forward(pass, pass.loras_after, &b.attended, x, rest);
        if let Some(sink) = sink {
            sink.lora_hidden[Group::O as usize].clone_from(&b.workspace.lora_hidden);
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
        x: &[f32],
        saved: &Saved,
        dy: Vec<f32>,
        input: bool,
    ) -> Option<Vec<f32>> {
        let (pass, config) = (t.pass, t.pass.step.config);
        let (step, cpu, eps) = (pass.step, pass.step.cpu, config.rms_norm_eps);
        let (q, kv, hidden) = (config.q_width(), config.kv_width(), config.hidden_size);
        let rows = step.rows();

        // middle = x + o(attention)
        let d_result = self.end(eps).backward(&pass, &saved.results[0], &dy);
        let mut d_attended = vec![0.0; saved.attended.len()];
        t.linear_backward(&self.o, &d_result, &mut d_attended, false);
        let group = Group::O;
        let adapted = Adapted { group, x: &saved.attended, hidden: t.hidden(saved, group) };
        project_backward(t, adapted, &[&d_result], Some(&mut d_attended));

        let d_attended = scatter(d_attended, pass.rows_after, rows, q);
        let mut dx = scatter(dy, pass.rows_after, rows, hidden);
        let [mut d_q, mut d_k, d_v] = attend_backward(step, self.scores, saved, &d_attended);
        if let Some(kind) = self.rotary {
            rotate_backward(cpu, &step.angles[kind], config.head_dim, &mut d_q, q);
            rotate_backward(cpu, &step.angles[kind], config.head_dim, &mut d_k, kv);
        }
        if let Some([q_norm, k_norm]) = &self.qk_norms {
            let back = |weight: &[f32], raw: &[f32], gradient: &[f32]| {
                let norm = Norm { weight, eps };
                let inverse = norm.with_inverse(cpu, raw).inverse;
                let mut d_raw = vec![0.0; raw.len()];
                norm.backward(cpu, (raw, &inverse), gradient, &mut d_raw);
                d_raw
            };
            d_q = back(q_norm, &saved.raw[0], &d_q);
            d_k = back(k_norm, &saved.raw[1], &d_k);
        }

        // q, k and v read the norm of the input
        let norm = self.norm.as_deref().map(|weight| Norm { weight, eps });
        let normed = norm.map(|norm| norm.with_inverse(cpu, x));
        let read = normed.as_ref().map_or(x, |normed| &normed.rows);
        let group = Group::Qkv;
        let adapted = Adapted { group, x: read, hidden: t.hidden(saved, group) };
        if !input {
            project_backward(t, adapted, &[&d_q, &d_k, &d_v], None);
            return None;
        }
        let mut d_read = vec![0.0; rows * hidden];
        t.linear_backward(&self.q, &d_q, &mut d_read, false);
        t.linear_backward(&self.k, &d_k, &mut d_read, true);
        t.linear_backward(&self.v, &d_v, &mut d_read, true);
        project_backward(t, adapted, &[&d_q, &d_k, &d_v], Some(&mut d_read));
        t.norm_backward(norm, (x, normed.as_ref()), &d_read, &mut dx);
        Some(dx)
    }
}
