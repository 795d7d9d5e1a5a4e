//! The two operations that candle sees.

use std::sync::{Arc, Mutex};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Storage, Tensor,
};

use crate::rope::Angles;

use super::Trainable;
use super::anchor::Anchors;
use super::batch::TrainBatch;
use super::dropout::Dropout;
use super::head::{Head, LossRows};
use super::kernels::RowKernels;
use super::layer::{Kept, Layer};

/// A layer of the model, made ready for a batch.
pub(super) fn layer<'a>(
    trainable: &'a Trainable,
    index: usize,
    batch: &'a TrainBatch,
    angles: &'a Angles,
    dropout: Option<Dropout>,
) -> Layer<'a> {
    let model = &*trainable.model;
    let last = index + 1 == model.config.num_layers;
    Layer {
        cpu: &model.cpu,
        kernels: RowKernels::beside(model.cpu.kernels),
        config: &model.config,
        weights: &model.decoder.layers[index],
        layout: &trainable.layout,
        batch,
        angles,
        dropout,
        rows_after: last.then_some(&batch.rows),
    }
}

/// One decoder layer of (hidden rows, flat adapter). The last one gives the supervised rows only.
pub(super) struct LayerOp {
    pub(super) trainable: Trainable,
    pub(super) index: usize,
    pub(super) batch: Arc<TrainBatch>,
    pub(super) angles: Arc<Angles>,
    pub(super) dropout: Option<Dropout>,
    pub(super) keep: bool,
    pub(super) kept: Mutex<Option<Kept>>,
    pub(super) between: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl LayerOp {
    fn layer(&self) -> Layer<'_> {
        layer(&self.trainable, self.index, &self.batch, &self.angles, self.dropout)
    }

    fn stand_aside(&self) {
        if let Some(between) = &self.between {
            between();
        }
    }
}

impl CustomOp2 for LayerOp {
    fn name(&self) -> &'static str {
        "hone-layer"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        lora: &CpuStorage,
        lora_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.stand_aside();
        let x = floats(hidden, hidden_layout)?;
        let (y, kept) = self.layer().forward(x, floats(lora, lora_layout)?);
        if self.keep
            && let Ok(mut place) = self.kept.lock()
        {
            *place = Some(kept);
        }
        let width = self.trainable.model.config.hidden_size;
        let shape = Shape::from((y.len() / width, width));
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        lora: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.stand_aside();
        let layer = self.layer();
        let gradient = gradient.contiguous()?;
        let kept = self.kept.lock().ok().and_then(|mut kept| kept.take());
        let (dx, d_lora) = with_floats(hidden, |x| {
            with_floats(lora, |lora| {
                with_floats(&gradient, |dy| {
                    let kept = kept.unwrap_or_else(|| layer.forward(x, lora).1);
                    layer.backward(x, lora, &kept, dy, self.index > 0)
                })
            })?
        })??;
        let dx = dx.map(|dx| Tensor::from_vec(dx, hidden.shape(), &Device::Cpu)).transpose()?;
        Ok((dx, Some(Tensor::from_vec(d_lora, lora.shape(), &Device::Cpu)?)))
    }
}

/// Norm, head and loss of the rows that it is taken on: a scalar, the sum over them.
pub(super) struct LossOp {
    pub(super) trainable: Trainable,
    pub(super) batch: Arc<TrainBatch>,
    pub(super) anchors: Option<Anchors>,
    pub(super) want_gradient: bool,
    pub(super) gradient: Mutex<Option<Vec<f32>>>,
}

impl CustomOp1 for LossOp {
    fn name(&self) -> &'static str {
        "hone-loss"
    }

    fn cpu_fwd(&self, hidden: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let model = &*self.trainable.model;
        let head = Head {
            cpu: &model.cpu,
            kernels: RowKernels::beside(model.cpu.kernels),
            config: &model.config,
            norm: &model.decoder.norm,
            output: model.decoder.head(),
        };
        let rows = LossRows {
            hidden: floats(hidden, layout)?,
            targets: &self.batch.targets,
            anchors: self.anchors.as_ref(),
        };
        let (loss, gradient) = head.loss(rows, self.want_gradient);
        if let Ok(mut place) = self.gradient.lock() {
            *place = gradient;
        }
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(&self, hidden: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let taken = self.gradient.lock().ok().and_then(|mut gradient| gradient.take());
        let Some(mut rows) = taken else {
            candle_core::bail!(
                "the loss was computed without its gradient, or it was taken already"
            )
        };
        let factor = gradient.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        rows.iter_mut().for_each(|value| *value *= factor);
        Ok(Some(Tensor::from_vec(rows, hidden.shape(), &Device::Cpu)?))
    }
}

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&values[from..to]),
        _ => candle_core::bail!("rows and adapters must be contiguous f32"),
    }
}

fn with_floats<T>(tensor: &Tensor, body: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(body(floats(storage, layout)?)),
        _ => candle_core::bail!("training runs on the CPU"),
    }
}
