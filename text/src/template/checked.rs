//! A template with a check after each step that can make something large.
//!
//! The engine counts instructions, but one instruction may double a text, and forty of them make a terabyte. So a template is
//! written anew from its syntax tree: `a ~ b` becomes `(a ~ b)|checked`, and the filter `checked` knows what has been made so
//! far ([`super::allowance`]). All text and all constants stand in a table, which the filter `constant` reads: what is written
//! is counted like what is computed.

use std::fmt::Write as _;

use minijinja::machinery::ast::{
    BinOp, BinOpKind, Call, CallArg, CompareOpKind, Expr, Macro, Stmt, UnaryOpKind,
};
use minijinja::machinery::{WhitespaceConfig, parse};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, ErrorKind, Value};

use super::generation;

/// Links of a chain `a ~ b ~ c …` between two checks. Each link alone in parentheses would nest a long chain too deep.
const LINKS: usize = 8;

/// A template to be compiled in the place of another.
pub(super) struct Checked {
    /// What to compile.
    pub(super) source: String,
    /// What the filter `constant` reads, by number.
    pub(super) constants: Vec<Value>,
}

/// Writes a template anew.
///
/// # Errors
/// It does not parse, or asks for other templates.
pub(super) fn checked(source: &str) -> Result<Checked, Error> {
    let whitespace =
        // As transformers sets up jinja2.
        WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: true, trim_blocks: true };
    let source = &generation::without_tags(source);
    let tree = parse(source, "chat", SyntaxConfig, whitespace)?;
    let mut writer = Writer { out: String::with_capacity(source.len() * 2), constants: Vec::new() };
    writer.statement(&tree)?;
    Ok(Checked { source: writer.out, constants: writer.constants })
}

struct Writer {
    out: String,
    constants: Vec<Value>,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn statements(&mut self, body: &[Stmt<'_>]) -> Result<(), Error> {
        body.iter().try_for_each(|statement| self.statement(statement))
    }

    /// `{% words body {% end %}`.
    fn block(&mut self, body: &[Stmt<'_>], end: &str) -> Result<(), Error> {
        self.put(" %}");
        self.statements(body)?;
        self.put("{% ");
        self.put(end);
        self.put(" %}");
        Ok(())
    }

    fn statement(&mut self, statement: &Stmt<'_>) -> Result<(), Error> {
        match statement {
            Stmt::Template(template) => return self.statements(&template.children),
            Stmt::EmitRaw(text) => {
                self.put("{{ ");
                self.constant(Value::from(text.raw));
                self.put(" }}");
            }
            Stmt::EmitExpr(emit) => {
                self.put("{{ ");
                self.expression(&emit.expr);
                self.put(" }}");
            }
            Stmt::ForLoop(each) => {
                self.put("{% for ");
                self.target(&each.target);
                self.put(" in ");
                self.expression(&each.iter);
                if let Some(filter) = &each.filter_expr {
                    self.put(" if ");
                    self.expression(filter);
                }
                self.put(if each.recursive { " recursive %}" } else { " %}" });
                self.statements(&each.body)?;
                if !each.else_body.is_empty() {
                    self.put("{% else %}");
                    self.statements(&each.else_body)?;
                }
                self.put("{% endfor %}");
            }
            Stmt::IfCond(first) => {
                let (mut condition, mut word) = (first, "{% if ");
                loop {
                    self.put(word);
                    self.expression(&condition.expr);
                    self.put(" %}");
                    self.statements(&condition.true_body)?;
                    match condition.false_body.as_slice() {
                        [] => break,
                        [Stmt::IfCond(next)] => (condition, word) = (next, "{% elif "),
                        body => {
                            self.put("{% else %}");
                            self.statements(body)?;
                            break;
                        }
                    }
                }
                self.put("{% endif %}");
            }
            Stmt::WithBlock(with) => {
                self.put("{% with ");
                for (index, (target, value)) in with.assignments.iter().enumerate() {
                    self.put(if index > 0 { ", " } else { "" });
                    self.target(target);
                    self.put(" = ");
                    self.expression(value);
                }
                self.block(&with.body, "endwith")?;
            }
            Stmt::Set(set) => {
                self.put("{% set ");
                self.target(&set.target);
                self.put(" = ");
                // A namespace in a namespace could hold itself, and be written without end.
                let kept = matches!(set.target, Expr::GetAttr(_));
                self.put(if kept { "(" } else { "" });
                self.expression(&set.expr);
                self.put(if kept { ")|kept %}" } else { " %}" });
            }
            Stmt::SetBlock(set) => {
                self.put("{% set ");
                self.target(&set.target);
                if let Some(filter) = &set.filter {
                    self.put(" | ");
                    self.filters(filter);
                    self.put(" | checked");
                }
                self.block(&set.body, "endset")?;
            }
            Stmt::AutoEscape(escape) => {
                self.put("{% autoescape ");
                self.expression(&escape.enabled);
                self.block(&escape.body, "endautoescape")?;
            }
            Stmt::FilterBlock(filter) => {
                self.put("{% filter ");
                self.filters(&filter.filter);
                self.block(&filter.body, "endfilter")?;
            }
            Stmt::Macro(named) => {
                self.put("{% macro ");
                self.put(named.name);
                self.parameters(named);
                self.block(&named.body, "endmacro")?;
            }
            Stmt::CallBlock(call) => {
                self.put("{% call");
                self.parameters(&call.macro_decl);
                self.put(" ");
                self.call(&call.call);
                self.block(&call.macro_decl.body, "endcall")?;
            }
            Stmt::Do(call) => {
                self.put("{% do ");
                self.call(&call.call);
                self.put(" %}");
            }
            Stmt::Continue(_) => self.put("{% continue %}"),
            Stmt::Break(_) => self.put("{% break %}"),
            Stmt::Block(_)
            | Stmt::Import(_)
            | Stmt::FromImport(_)
            | Stmt::Extends(_)
            | Stmt::Include(_) => {
                let message = "block, extends, include and import are not supported: a chat \
                               template stands alone";
                return Err(Error::new(ErrorKind::SyntaxError, message));
            }
        }
        Ok(())
    }

    /// What is assigned to: a name, an attribute of a namespace, or several.
    fn target(&mut self, target: &Expr<'_>) {
        match target {
            Expr::Var(name) => self.put(name.id),
            Expr::GetAttr(attribute) => {
                self.target(&attribute.expr);
                self.put(".");
                self.put(attribute.name);
            }
            Expr::List(list) => {
                self.put("(");
                for item in &list.items {
                    self.target(item);
                    self.put(", ");
                }
                self.put(")");
            }
            other => self.expression(other),
        }
    }

    fn parameters(&mut self, named: &Macro<'_>) {
        self.put("(");
        let plain = named.args.len().saturating_sub(named.defaults.len());
        for (index, argument) in named.args.iter().enumerate() {
            self.put(if index > 0 { ", " } else { "" });
            self.target(argument);
            if let Some(default) = index.checked_sub(plain).and_then(|at| named.defaults.get(at)) {
                self.put(" = ");
                self.expression(default);
            }
        }
        self.put(")");
    }

    /// The filters of a block, whose text is what the first one is applied to.
    fn filters(&mut self, filters: &Expr<'_>) {
        let Expr::Filter(filter) = filters else { return };
        if let Some(before) = &filter.expr {
            self.filters(before);
            self.put(" | ");
        }
        self.put(filter.name);
        self.arguments(&filter.args);
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) {
        self.put("(");
        for (index, argument) in arguments.iter().enumerate() {
            self.put(if index > 0 { ", " } else { "" });
            let value = match argument {
                CallArg::Pos(value) => value,
                CallArg::Kwarg(name, value) => {
                    self.put(name);
                    self.put("=");
                    value
                }
                CallArg::PosSplat(value) => {
                    self.put("*");
                    value
                }
                CallArg::KwargSplat(value) => {
                    self.put("**");
                    value
                }
            };
            self.expression(value);
        }
        self.put(")");
    }

    fn constant(&mut self, value: Value) {
        // Writing to a string does not fail.
        let _ = write!(self.out, "({}|constant)", self.constants.len());
        self.constants.push(value);
    }

    fn call(&mut self, call: &Call<'_>) {
        self.primary(&call.expr);
        self.arguments(&call.args);
    }

    /// An expression that an attribute, an item or a call may follow.
    fn primary(&mut self, expression: &Expr<'_>) {
        if matches!(expression, Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_)) {
            self.expression(expression);
        } else {
            self.put("(");
            self.expression(expression);
            self.put(")");
        }
    }

    /// An expression that may stand beside an operator.
    fn expression(&mut self, expression: &Expr<'_>) {
        match expression {
            Expr::Var(name) => self.put(name.id),
            Expr::Const(constant) => self.constant(constant.value.clone()),
            Expr::UnaryOp(unary) => {
                self.put(match unary.op {
                    UnaryOpKind::Not => "(not (",
                    UnaryOpKind::Neg => "(-(",
                });
                self.expression(&unary.expr);
                self.put("))");
            }
            Expr::BinOp(binary) => {
                self.put("(");
                self.binary(binary, LINKS);
                let chosen = matches!(binary.op, BinOpKind::ScAnd | BinOpKind::ScOr);
                self.put(if chosen { ")" } else { ")|checked" });
            }
            Expr::Compare(compare) => {
                self.put("(");
                self.expression(&compare.expr);
                for next in &compare.ops {
                    self.put(match next.op {
                        CompareOpKind::Eq => " == ",
                        CompareOpKind::Ne => " != ",
                        CompareOpKind::Gt => " > ",
                        CompareOpKind::Gte => " >= ",
                        CompareOpKind::Lt => " < ",
                        CompareOpKind::Lte => " <= ",
                        CompareOpKind::In => " in ",
                        CompareOpKind::NotIn => " not in ",
                    });
                    self.expression(&next.expr);
                }
                self.put(")|checked");
            }
            Expr::IfExpr(choice) => {
                self.put("(");
                self.expression(&choice.true_expr);
                self.put(" if ");
                self.expression(&choice.test_expr);
                if let Some(otherwise) = &choice.false_expr {
                    self.put(" else ");
                    self.expression(otherwise);
                }
                self.put(")");
            }
            Expr::Filter(filter) => {
                if let Some(value) = &filter.expr {
                    self.expression(value);
                }
                self.put("|");
                self.put(filter.name);
                self.arguments(&filter.args);
                self.put("|checked");
            }
            Expr::Test(test) => {
                self.put("(");
                self.expression(&test.expr);
                self.put(" is ");
                self.put(test.name);
                self.arguments(&test.args);
                self.put(")|checked");
            }
            Expr::GetAttr(attribute) => {
                self.primary(&attribute.expr);
                self.put(".");
                self.put(attribute.name);
            }
            Expr::GetItem(item) => {
                self.primary(&item.expr);
                self.put("[");
                self.expression(&item.subscript_expr);
                self.put("]");
            }
            Expr::Slice(slice) => {
                self.primary(&slice.expr);
                self.put("[");
                for (part, after) in
                    [(&slice.start, ":"), (&slice.stop, ":"), (&slice.step, "]|checked")]
                {
                    if let Some(part) = part {
                        self.expression(part);
                    }
                    self.put(after);
                }
            }
            Expr::Call(call) => {
                self.call(call);
                self.put("|checked");
            }
            Expr::List(list) => {
                self.put("[");
                for item in &list.items {
                    self.expression(item);
                    self.put(", ");
                }
                self.put("]|checked");
            }
            Expr::Map(map) => {
                self.put("{");
                for (key, value) in map.keys.iter().zip(&map.values) {
                    self.expression(key);
                    self.put(": ");
                    self.expression(value);
                    self.put(", ");
                }
                self.put("}|checked");
            }
        }
    }

    /// `a + b`, with the chain that `a` may be, up to so many links.
    fn binary(&mut self, binary: &BinOp<'_>, links: usize) {
        match &binary.left {
            Expr::BinOp(left) if links > 1 && is_chain(left.op) && same(left.op, binary.op) => {
                self.binary(left, links - 1);
            }
            left => self.expression(left),
        }
        self.put(match binary.op {
            BinOpKind::Eq => " == ",
            BinOpKind::Ne => " != ",
            BinOpKind::Lt => " < ",
            BinOpKind::Lte => " <= ",
            BinOpKind::Gt => " > ",
            BinOpKind::Gte => " >= ",
            BinOpKind::ScAnd => " and ",
            BinOpKind::ScOr => " or ",
            BinOpKind::Add => " + ",
            BinOpKind::Sub => " - ",
            BinOpKind::Mul => " * ",
            BinOpKind::Div => " / ",
            BinOpKind::FloorDiv => " // ",
            BinOpKind::Rem => " % ",
            BinOpKind::Pow => " ** ",
            BinOpKind::Concat => " ~ ",
            BinOpKind::In => " in ",
        });
        self.expression(&binary.right);
    }
}

/// Whether what several of it make is no larger than what goes in.
fn is_chain(operator: BinOpKind) -> bool {
    matches!(operator, BinOpKind::Add | BinOpKind::Concat | BinOpKind::ScAnd | BinOpKind::ScOr)
}

fn same(a: BinOpKind, b: BinOpKind) -> bool {
    std::mem::discriminant(&a) == std::mem::discriminant(&b)
}
