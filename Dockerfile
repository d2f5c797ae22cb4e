# syntax=docker/dockerfile:1
# A static binary in an empty image. It serves config/container.toml:
#
#   docker build -t deltaway .
#   docker run --rm -p 8080:8080 deltaway
#
# With a configuration of your own in its place:
#   docker run --rm -p 8080:8080 -v ./deltaway.toml:/etc/deltaway/deltaway.toml:ro deltaway

FROM rust:1.95-alpine AS build

# A C compiler for the allocator and for ring; the authorities for TLS to backends.
# No versions: Alpine takes old packages away, and a build that names one fails the next week.
# hadolint ignore=DL3018
RUN apk add --no-cache build-base ca-certificates

WORKDIR /build

# Function names stay for backtraces, line tables do not: they would triple the image.
ENV CARGO_PROFILE_RELEASE_DEBUG=0 \
    CARGO_PROFILE_RELEASE_STRIP=debuginfo

# The dependencies alone, against empty sources: a layer that only a changed lock file makes anew.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests benches/load benches/micro \
    && touch src/lib.rs \
    && for target in src tests benches/load benches/micro; do echo 'fn main() {}' > "$target/main.rs"; done \
    && cargo build --release --locked --bin deltaway

COPY config config
COPY src src
# The empty sources above may be newer than the real ones, and cargo goes by that.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --bin deltaway

FROM scratch

LABEL org.opencontainers.image.title="Deltaway" \
      org.opencontainers.image.description="A gateway for event streams" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"

COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/deltaway /deltaway
COPY config/container.toml /etc/deltaway/deltaway.toml

# Every command reads the file that DELTAWAY_CONFIG names, the health check too. In a container loopback
# is nobody's address but the container's own: DELTAWAY_LISTEN outweighs what the file says.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    DELTAWAY_CONFIG=/etc/deltaway/deltaway.toml \
    DELTAWAY_LISTEN=0.0.0.0:8080

# By number, since an empty image has no list of names; orchestrators can then see it is not root.
USER 65532:65532
EXPOSE 8080

# Asks the [admin] listener of that file; a file without one needs --no-healthcheck.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/deltaway", "health"]

ENTRYPOINT ["/deltaway"]
