FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements/ requirements/
RUN python -m venv /opt/gateway \
 && /opt/gateway/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt \
 && /opt/gateway/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway/ gateway/
COPY mappings/ mappings/
COPY adapters/ adapters/
COPY fixtures/ fixtures/
RUN /opt/gateway/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --create-home gateway && install -d -o gateway /data
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH GATEWAY_CONFIG=/config GATEWAY_DATA=/data PYTHONUNBUFFERED=1
USER gateway
EXPOSE 8080 9100 2575
ENTRYPOINT ["gateway"]
CMD ["serve"]
