//! Asking a checked expression of a flow.

use super::Seen;
use super::check::{Fold, Node};
use super::evaluate;
use super::pattern;
use super::value::{self, Value};
use prost_reflect::ReflectMessage;
use regex::Regex;

/// An expression at work.
pub struct Run<'a> {
    pub seen: &'a Seen,
    /// `None`: it could not be told.
    locals: Vec<Option<Value<'a>>>,
    /// Steps that are left.
    left: u32,
    /// The last pattern that was put together: most are the same for all items of a list.
    pattern: Option<(String, Regex)>,
}

/// Whether the expression is true for what is seen; what fails is not.
pub fn is_true(node: &Node, seen: &Seen) -> bool {
    let mut run = Run { seen, locals: Vec::new(), left: MOST_STEPS, pattern: None };
    matches!(run.ask(node), Some(Value::Bool(true)))
}

impl<'a> Run<'a> {
    /// `None`: there are no more.
    pub fn spend(&mut self, steps: u32) -> Option<()> {
        let left = self.left.checked_sub(steps);
        self.left = left.unwrap_or(0);
        left.map(|_| ())
    }

    /// `None`: it fails.
    fn ask(&mut self, node: &'a Node) -> Option<Value<'a>> {
        self.spend(1)?;
        match node {
            Node::Value(value) => Some(value.clone()),
            Node::Text(text) => Some(Value::Text(text)),
            Node::Flow => Some(Value::Message(Some(&self.seen.flow))),
            Node::Local(place) => self.locals.get(*place)?.clone(),
            Node::Field(of, field) => match self.ask(of)? {
                Value::Message(message) => value::field(message, field, self.seen),
                _ => None,
            },
            Node::Has(of, field) => match self.ask(of)? {
                Value::Message(Some(message)) if message.descriptor() == *field.parent_message() => {
                    Some(Value::Bool(message.has_field(field)))
                }
                Value::Message(None) => Some(Value::Bool(false)),
                _ => None,
            },
            Node::And(both) => self.either(both, false),
            Node::Or(both) => self.either(both, true),
            Node::If(three) => {
                let [asked, yes, no] = three.as_ref();
                match self.ask(asked)? {
                    Value::Bool(true) => self.ask(yes),
                    Value::Bool(false) => self.ask(no),
                    _ => None,
                }
            }
            Node::NotFalse(asked) => Some(Value::Bool(!matches!(self.ask(asked), Some(Value::Bool(false))))),
            Node::List(items) => {
                let items = items.iter().map(|item| self.ask(item)).collect::<Option<Vec<_>>>()?;
                Some(Value::List(items.into()))
            }
            Node::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| Some((self.ask(key)?, self.ask(value)?)));
                let entries = entries.collect::<Option<Vec<_>>>()?;
                evaluate::map(entries, self)
            }
            Node::Kind(of, name) => {
                let value = self.ask(of)?;
                Some(Value::Kind(name.clone().or_else(|| value.kind())?))
            }
            Node::Part(part, of, zone) => match self.ask(of)? {
                Value::Time(time) => Some(evaluate::part_of(*part, time, zone.clone())),
                _ => None,
            },
            Node::Matches(text, pattern, steps) => {
                let text = self.ask(text)?;
                self.spend((text.weight() + 1).saturating_mul(*steps))?;
                Some(Value::Bool(pattern.is_match(text.text()?)))
            }
            Node::Call(operation, arguments) => {
                let values = arguments.iter().map(|argument| self.ask(argument)).collect::<Option<Vec<_>>>()?;
                evaluate::apply(*operation, &values, self)
            }
            Node::Fold(fold) => self.fold(fold),
        }
    }

    /// By a pattern that was put together.
    pub fn matches(&mut self, text: &Value<'a>, pattern: &str) -> Option<Value<'a>> {
        self.spend((text.weight() + 1).saturating_mul(pattern::MADE_STEPS))?;
        if self.pattern.as_ref().is_none_or(|(known, _)| known != pattern) {
            self.spend(pattern::price(pattern))?;
            self.pattern = Some((pattern.to_owned(), pattern::made(pattern)?));
        }
        let (_, made) = self.pattern.as_ref()?;
        Some(Value::Bool(made.is_match(text.text()?)))
    }

    /// Of `&&` and `||` one side may decide alone, whichever it is and even if the other fails.
    fn either(&mut self, both: &'a [Node; 2], decides: bool) -> Option<Value<'a>> {
        let mut known = true;
        for side in both {
            match self.ask(side) {
                Some(Value::Bool(yes)) if yes == decides => return Some(Value::Bool(decides)),
                Some(Value::Bool(_)) => {}
                _ => known = false,
            }
        }
        known.then_some(Value::Bool(!decides))
    }

    fn fold(&mut self, fold: &'a Fold) -> Option<Value<'a>> {
        let range = self.ask(&fold.range)?;
        // Before anything is put down that would have to be taken away again.
        let length = range.len()?;
        let first = self.ask(&fold.first);
        let place = self.locals.len();
        self.locals.push(first);
        for index in 0..length {
            self.locals.push(range.item(index, self.seen));
            let goes_on = self.ask(&fold.goes_on);
            let step = match goes_on {
                Some(Value::Bool(true)) => self.ask(&fold.step),
                _ => break,
            };
            self.locals.truncate(place);
            self.locals.push(step);
        }
        self.locals.truncate(place + 1);
        let result = self.ask(&fold.result);
        self.locals.truncate(place);
        result
    }
}

/// Of one expression about one flow. Two nested walks over its labels take some thousands, and are over in a tenth of a millisecond.
/// Of patterns that are put together steps bound the number and the length ([`pattern::price`]), and are no measure of time: how long
/// the worst of them takes to make has not been measured.
pub const MOST_STEPS: u32 = 10_000;
