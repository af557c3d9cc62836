#!/usr/bin/env bash
# Looks for what the build needs beside Rust: a C and C++ compiler, make, and libclang with its
# headers (the bindings to RocksDB are generated at build time). As root on Debian or Ubuntu it
# installs what is missing; otherwise it says what to install, and fails.
set -eu

have_libclang() {
  local dir
  for dir in "${LIBCLANG_PATH:-}" /usr/lib/llvm-*/lib /usr/lib/*-linux-gnu /usr/lib64 /usr/lib \
    /usr/local/lib /opt/homebrew/opt/llvm/lib /Library/Developer/CommandLineTools/usr/lib; do
    [ -n "$dir" ] || continue
    compgen -G "$dir/libclang.so*" >/dev/null && return 0
    compgen -G "$dir/libclang-*.so*" >/dev/null && return 0
    compgen -G "$dir/libclang.dylib" >/dev/null && return 0
  done
  return 1
}

# libclang alone doesn't suffice: without the compiler's own headers (stddef.h) the bindings fail.
have_clang_headers() {
  [ "$(uname -s)" = Linux ] || return 0
  [ -z "${LIBCLANG_PATH:-}" ] || return 0
  compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null && return 0
  compgen -G '/usr/lib*/clang/*/include/stddef.h' >/dev/null
}

have_cargo() {
  command -v cargo >/dev/null && cargo --version >/dev/null 2>&1
}

missing=()
command -v cc >/dev/null || missing+=(gcc)
command -v c++ >/dev/null || missing+=(g++)
command -v make >/dev/null || missing+=(make)
{ have_libclang && have_clang_headers; } || missing+=(libclang-dev)

if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing ${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } </dev/null >&2
  else
    echo "Missing to build Postroom: ${missing[*]}" >&2
    echo "On Debian or Ubuntu: sudo apt-get install ${missing[*]}" >&2
    echo "On Fedora: sudo dnf install gcc gcc-c++ make clang-devel; on macOS: xcode-select --install" >&2
    exit 1
  fi
fi

if ! have_cargo; then
  echo "Missing to build Postroom: Rust (see rust-version in Cargo.toml). Install it from https://rustup.rs" >&2
  exit 1
fi
