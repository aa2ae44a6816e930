//! A training step: both towers forward, CLIP's loss, backward, AdamW.

use criterion::{Criterion, Throughput};
use gauntlet::defense::clip_loss;
use gauntlet::model::{Clip, ModelConfig};
use gauntlet::tch::{Device, Kind, Tensor};
use gauntlet::train::adamw::AdamW;

pub fn bench(criterion: &mut Criterion) {
    gauntlet_torch::keep_freed_memory();
    gauntlet::tch::set_num_threads(1);
    let mut group = criterion.benchmark_group("step");
    for (name, rows, length) in [("tiny", 128, 12), ("RN50", 8, 77)] {
        let model = Clip::new(&ModelConfig::named(name).expect("it ships"), 0, Device::Cpu).expect("it is built");
        let (side, text) = (model.config.vision_cfg.image_size, &model.config.text_cfg);
        let images = Tensor::randn([rows, 3, side, side], (Kind::Float, Device::Cpu));
        let words = Tensor::randint_low(1, text.vocab_size - 1, [rows, length - 1], (Kind::Int64, Device::Cpu));
        let end = Tensor::full([rows, 1], text.vocab_size - 1, (Kind::Int64, Device::Cpu));
        let tokens = Tensor::cat(&[words, end], 1);
        let mut optimizer = AdamW::new(&model.weights, [0.9, 0.999], 1e-8, 0.1);
        let (names, parameters): (Vec<&str>, Vec<&Tensor>) =
            model.weights.parameters.iter().map(|(name, parameter)| (name.as_str(), parameter)).unzip();
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(format!("{name}, batch {rows}"), |bencher| {
            bencher.iter(|| {
                let (image, text) = (model.encode_image(&images, true), model.encode_text(&tokens));
                let loss = clip_loss(&image, &text, &model.logit_scale());
                let gradients = Tensor::run_backward(&[&loss], &parameters, false, false);
                let named: Vec<_> = names.iter().copied().zip(gradients).collect();
                optimizer.step(&model.weights, &named, 1e-5).expect("gradients fit");
                model.clamp_logit_scale();
            });
        });
    }
    group.finish();
}
