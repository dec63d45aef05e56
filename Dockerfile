# syntax=docker/dockerfile:1
# One static program and nothing else: no shell, no package manager, no user database.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /weir
# Dependencies first, so that a change of src/ does not build them again.
COPY Cargo.toml Cargo.lock README.md ./
RUN mkdir -p src tests/bench tests/kubevirt \
    && echo 'fn main() {}' | tee src/main.rs tests/bench/decide.rs tests/bench/simulate.rs tests/bench/program.rs tests/kubevirt/program.rs > tests/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked --bin weir \
    && rm -r src tests
COPY src src
# Dumps say which build wrote them.
ARG WEIR_COMMIT
# The manifest names them; they are not built.
COPY tests/bench tests/bench
RUN mkdir -p tests/kubevirt && touch tests/main.rs tests/kubevirt/program.rs src/main.rs src/lib.rs \
    && cargo build --release --locked --bin weir \
    # It must start without a loader, for there is none in the image.
    && if ldd target/release/weir 2>&1 | grep '=>' ; then echo "the program is not static" >&2; exit 1; fi \
    && target/release/weir --version

FROM scratch
COPY LICENSE /LICENSE
COPY --from=build /weir/target/release/weir /weir
# Nobody: the standard "restricted" asks for a number.
USER 65532:65532
EXPOSE 8080 8443
ENTRYPOINT ["/weir"]
CMD ["run"]
