//! What a file names: every path in imports, expressions, types and macros, with its line, and with
//! `self`, `super` and the crate's own name resolved to `crate::…`.
//!
//! Names are read from the text, not resolved by the compiler: a re-export is seen where it is written,
//! which is where the rule would be broken.

use crate::Source;
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// One path as written.
#[derive(Debug)]
pub struct Name {
    pub line: usize,
    pub parts: Vec<String>,
    pub is_test: bool,
}

impl Name {
    pub fn starts_with(&self, parts: &[&str]) -> bool {
        self.parts.len() >= parts.len() && self.parts.iter().zip(parts).all(|(have, want)| have == want)
    }

    pub fn has_any(&self, words: &[&str]) -> bool {
        self.parts.iter().any(|part| words.contains(&part.as_str()))
    }
}

/// Every path that the file names.
pub fn names(source: &Source) -> Vec<Name> {
    let mut names =
        Names { module: source.module_path(), tests: usize::from(source.is_test), found: Vec::new() };
    names.visit_file(&source.file);
    names.found
}

/// `#[cfg(test)]`, `#[cfg(all(test, …))]`, `#[test]`, `#[tokio::test]`.
pub fn is_test_code(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => {
            let text = list.tokens.to_string();
            text == "test" || text.starts_with("all (test") || text.starts_with("all(test")
        }
        meta => meta.path().segments.last().is_some_and(|segment| segment.ident == "test"),
    })
}

struct Names {
    module: Vec<String>,
    /// How many of the enclosing items are test code.
    tests: usize,
    found: Vec<Name>,
}

impl Names {
    fn add(&mut self, line: usize, parts: Vec<String>) {
        let parts = self.resolved(parts);
        self.found.push(Name { line, parts, is_test: self.tests > 0 });
    }

    fn resolved(&self, mut parts: Vec<String>) -> Vec<String> {
        let mut module = self.module.clone();
        let relative = parts.iter().take_while(|part| *part == "self" || *part == "super").count();
        if relative == 0 {
            // The binary names the library from outside.
            if parts.first().is_some_and(|first| first == "postroom") {
                parts[0] = "crate".into();
            }
            return parts;
        }
        for part in &parts[..relative] {
            if part == "super" {
                module.pop();
            }
        }
        let rest = parts.split_off(relative);
        std::iter::once("crate".to_string()).chain(module).chain(rest).collect()
    }

    fn add_use(&mut self, before: &[String], tree: &syn::UseTree) {
        let line = tree.span().start().line;
        let with = |last: String| before.iter().cloned().chain([last]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.add_use(&with(path.ident.to_string()), &path.tree),
            syn::UseTree::Name(name) => self.add(line, with(name.ident.to_string())),
            syn::UseTree::Rename(name) => self.add(line, with(name.ident.to_string())),
            syn::UseTree::Glob(_) => self.add(line, with("*".into())),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(before, tree);
                }
            }
        }
    }

    /// The arguments of a macro are tokens only: every `a::b::c` among them is taken as a path.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.flush(&mut path, line);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                other => {
                    self.flush(&mut path, line);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.add_tokens(group.stream());
                    }
                }
            }
        }
        self.flush(&mut path, line);
    }

    fn flush(&mut self, path: &mut Vec<String>, line: usize) {
        if !path.is_empty() {
            let parts = std::mem::take(path);
            self.add(line, parts);
        }
    }

    fn within(&mut self, attributes: &[syn::Attribute], inner: impl FnOnce(&mut Self)) {
        let is_test = usize::from(is_test_code(attributes));
        self.tests += is_test;
        inner(self);
        self.tests -= is_test;
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.within(&item.attrs, |names| names.add_use(&[], &item.tree));
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.add(item.span().start().line, vec![item.ident.to_string()]);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.within(&item.attrs, |names| {
            names.module.push(item.ident.to_string());
            visit::visit_item_mod(names, item);
            names.module.pop();
        });
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.within(&item.attrs, |names| visit::visit_item_fn(names, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.within(&item.attrs, |names| visit::visit_item_impl(names, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.within(&item.attrs, |names| visit::visit_impl_item_fn(names, item));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(path.span().start().line, parts);
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.add(call.method.span().start().line, vec![call.method.to_string()]);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.add_tokens(call.tokens.clone());
    }
}
