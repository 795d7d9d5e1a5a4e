//! The two operations that candle sees.

use std::sync::{Arc, Mutex};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Storage, Tensor,
};

use hone_device::ops::{Angles, Dropout};

use crate::decoder::step::Saved;

use super::Trainable;
use super::base::BaseRows;
use super::batch::TrainBatch;
use super::head::{LossHead, LossRows};
use super::layer::TrainLayer;

/// One decoder layer of (hidden rows, flat adapter). The last one gives the supervised rows only.
pub(super) struct LayerOp {
    pub(super) trainable: Trainable,
    pub(super) index: usize,
    pub(super) batch: Arc<TrainBatch>,
    pub(super) angles: Arc<Vec<Angles>>,
    pub(super) dropout: Option<Dropout>,
    pub(super) keep: bool,
    pub(super) saved: Mutex<Option<Saved>>,
    pub(super) between: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl LayerOp {
    fn layer(&self) -> TrainLayer<'_> {
        let (index, dropout) = (self.index, self.dropout);
        TrainLayer::new(&self.trainable, index, &self.batch, &self.angles, dropout)
    }

    fn yield_to_serving(&self) {
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
        self.yield_to_serving();
        let device = self.trainable.model.device();
        let x = device.upload(floats(hidden, hidden_layout)?.to_vec());
        let mut saved = self.keep.then(Saved::default);
        let y = self.layer().forward(x, floats(lora, lora_layout)?, saved.as_mut());
        let y = device.download(y);
        if let Ok(mut place) = self.saved.lock() {
            *place = saved;
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
        self.yield_to_serving();
        let (layer, device) = (self.layer(), self.trainable.model.device());
        let upload = |tensor: &Tensor| with_floats(tensor, |rows| device.upload(rows.to_vec()));
        let saved = self.saved.lock().ok().and_then(|mut saved| saved.take());
        let (x, dy) = (upload(hidden)?, upload(&gradient.contiguous()?)?);
        let (dx, d_lora) = with_floats(lora, |lora| {
            let saved = saved.unwrap_or_else(|| {
                let mut again = Saved::default();
                layer.forward(device.copy(&x, 0..x.len()), lora, Some(&mut again));
                again
            });
            layer.backward(&x, lora, &saved, dy, self.index > 0)
        })?;
        let download = |buffer, like: &Tensor| {
            Tensor::from_vec(device.download(buffer), like.shape(), &Device::Cpu)
        };
        let dx = dx.map(|dx| download(dx, hidden)).transpose()?;
        Ok((dx, Some(download(d_lora, lora)?)))
    }
}

/// Norm, head and loss of the rows that it is taken on: a scalar, the sum over them.
pub(super) struct LossOp {
    pub(super) trainable: Trainable,
    pub(super) batch: Arc<TrainBatch>,
    pub(super) base: Option<BaseRows>,
    pub(super) want_gradient: bool,
    pub(super) gradient: Mutex<Option<Vec<f32>>>,
}

impl CustomOp1 for LossOp {
    fn name(&self) -> &'static str {
        "hone-loss"
    }

    fn cpu_fwd(&self, hidden: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let model = &*self.trainable.model;
        let (device, config) = (model.device(), &model.config);
        let head = LossHead { device, config, head: model.decoder.head() };
        let rows = LossRows {
            hidden: floats(hidden, layout)?,
            targets: &self.batch.targets,
            base: self.base.as_ref(),
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
