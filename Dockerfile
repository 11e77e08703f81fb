# Learn2Augment with CUDA. The wheels of PyTorch carry CUDA; the host needs its driver alone, and
# Docker the NVIDIA container toolkit:
#
#   docker build -t l2a .
#   docker run --rm --gpus all --shm-size 8g -v DATA:/data:ro -v RUNS:/runs l2a train /data --out /runs/first
#
# --shm-size: worker processes hand batches over in shared memory, of which a container has 64 MB.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    # Weights that are fetched once: a volume here keeps them.
    TORCH_HOME=/weights \
    HF_HOME=/weights/huggingface \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY l2a l2a
COPY semantic_match semantic_match
COPY compositing compositing
COPY selector selector
COPY train train
# Versions: those of pyproject.toml, as ranges; `pip freeze` in the image says which they became.
RUN pip install '.[pretrained,timm,distributed]' \
    && useradd --create-home l2a \
    && mkdir /weights /runs \
    && chown l2a /weights /runs

USER l2a
WORKDIR /runs
VOLUME ["/weights", "/runs"]
ENTRYPOINT ["l2a"]
CMD ["--help"]
