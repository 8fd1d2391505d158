# Rowbridge in a container. Build:  DOCKER_BUILDKIT=1 docker build -t rowbridge .   (the default since Docker 23)
# Run:  docker run -v "$PWD/bridge.yaml:/etc/rowbridge/bridge.yaml:ro" -v rowbridge:/var/lib/rowbridge rowbridge

# The two images it begins with. They are named by version: a digest has to be looked up where a registry can be reached, and
# pins what a release is built from. docker buildx imagetools inspect IMAGE shows it; then
#   docker build --build-arg DEBIAN_IMAGE=debian:bookworm-slim@sha256:… --build-arg RUST_IMAGE=… -t rowbridge .
ARG RUST_IMAGE=rust:1-slim-bookworm
ARG DEBIAN_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
# The image brings what the build needs: rustc, a C compiler for the bundled SQLite and ring, and the CA certificates.
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin rowbridge \
    && install -D target/release/rowbridge /out/rowbridge

FROM ${DEBIAN_IMAGE}
# The binary links to glibc and libgcc only, which the base image has, as it has the time zones: no
# package is added. The certificates, for brokers and
# databases behind TLS, come from the build stage.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
RUN groupadd --gid 10001 rowbridge \
    && useradd --uid 10001 --gid rowbridge --shell /usr/sbin/nologin --no-create-home --home-dir /var/lib/rowbridge rowbridge \
    && install -d -o rowbridge -g rowbridge -m 0750 /var/lib/rowbridge \
    && install -d /etc/rowbridge
COPY --from=build /out/rowbridge /usr/bin/rowbridge

# By number: Kubernetes' runAsNonRoot cannot tell from a name that it is not root.
USER 10001:10001
WORKDIR /var/lib/rowbridge
# The journal, and SQLite files named by a relative path, live in the volume. The journal holds messages that the broker
# has been told are safe: without a volume a removed container takes them with it.
ENV STATE_DIRECTORY=/var/lib/rowbridge \
    ROWBRIDGE_CONFIG=/etc/rowbridge/bridge.yaml
VOLUME /var/lib/rowbridge
EXPOSE 9469

STOPSIGNAL SIGTERM
# Exit code 0 while the daemon answers; the address is the configuration's http.listen.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["rowbridge", "status", "--json"]
ENTRYPOINT ["rowbridge"]
CMD ["run", "-c", "/etc/rowbridge/bridge.yaml"]
