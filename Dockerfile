# The service: docker build --tag head-detection . ; docs/service.md has the lines to run it.
FROM python:3.12-slim AS build
ARG TORCH_INDEX=""
RUN python -m venv /opt/head-detection
ENV PATH=/opt/head-detection/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY requirements.txt .
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} $(grep '^torch' requirements.txt)
RUN pip install --requirement requirements.txt
COPY LICENSE README.md pyproject.toml ./
COPY weights weights
COPY head_detection head_detection
# trackers brings opencv-python, which needs libGL; both write cv2, the one without goes last.
RUN pip install '.[serve,track]' && \
    pip install --force-reinstall --no-deps opencv-python-headless

FROM python:3.12-slim
COPY --from=build /opt/head-detection /opt/head-detection
# Libraries keep small caches in a home: all of them in the one folder that may be written.
ENV PATH=/opt/head-detection/bin:$PATH HOME=/tmp MPLCONFIGDIR=/tmp PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000
# Not by urllib, which would ask a proxy that Docker passes to the container.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", \
  "from http.client import HTTPConnection as To; to = To('127.0.0.1', 8000); to.request('GET', '/healthz'); exit(to.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["head-detection", "serve", "--host", "0.0.0.0"]
