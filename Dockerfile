# One static binary, the same with the operator and with the sidecar alone, and nothing else.
#
#   docker build .                                       compiles it in a build stage
#   --target prebuilt, with these as the context   only packs it (`make image`)

# First, so that building it pulls nothing.
FROM scratch AS prebuilt
COPY visiobook visiobook-operator visiobook-sidecar /
USER 1001:1001
ENTRYPOINT ["/visiobook"]

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# With an explicit target the flag stays out of build scripts and macros, which cannot be static.
RUN RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --locked --release --bins --target "$(rustc -vV | sed -n 's/^host: //p')" \
 && cp target/*/release/visiobook target/*/release/visiobook-operator target/*/release/visiobook-sidecar /

FROM scratch
COPY --from=build /visiobook /visiobook-operator /visiobook-sidecar /
USER 1001:1001
ENTRYPOINT ["/visiobook"]
