//! What the agent's container may use: requests always, a limit of memory always, one of CPU where somebody sets it.

use serde_json::{Value, json};

use super::quantity::{Cpu, Memory};

/// Requests and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    cpu_request: Cpu,
    memory_request: Memory,
    cpu_limit: Option<Cpu>,
    memory_limit: Memory,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu_request: Cpu::millis(5),
            memory_request: Memory::mebibytes(16),
            cpu_limit: None,
            memory_limit: Memory::mebibytes(64),
        }
    }
}

impl Resources {
    /// Takes over what a map of `requests` and `limits` says; what is wrong with it, as paths and sentences.
    pub(crate) fn read(&mut self, tree: &Value) -> Vec<(String, &'static str)> {
        const CPU: &str = "must be an amount such as 5m or 1";
        const MEMORY: &str = "must be an amount with a binary unit, such as 16Mi";
        let mut problems = Vec::new();
        let Some(kinds) = tree.as_object() else {
            return vec![(String::new(), "must be a map of requests and limits")];
        };
        for (kind, amounts) in kinds {
            let (is_limit, amounts) = match (kind.as_str(), amounts.as_object()) {
                ("requests", Some(amounts)) => (false, amounts),
                ("limits", Some(amounts)) => (true, amounts),
                ("requests" | "limits", None) => {
                    problems.push((kind.clone(), "must be a map of cpu and memory"));
                    continue;
                }
                _ => {
                    problems.push((String::new(), "holds an unknown key; there are requests, limits"));
                    continue;
                }
            };
            for (name, amount) in amounts {
                let text = match amount {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    _ => String::new(),
                };
                match name.as_str() {
                    "cpu" => match Cpu::parse(&text) {
                        Some(cpu) if is_limit => self.cpu_limit = Some(cpu),
                        Some(cpu) => self.cpu_request = cpu,
                        None => problems.push((format!("{kind}.cpu"), CPU)),
                    },
                    "memory" => match Memory::parse(&text) {
                        Some(memory) if is_limit => self.memory_limit = memory,
                        Some(memory) => self.memory_request = memory,
                        None => problems.push((format!("{kind}.memory"), MEMORY)),
                    },
                    _ => problems.push((kind.clone(), "holds an unknown key; there are cpu, memory")),
                }
            }
        }
        problems
    }

    /// Whether no request is above its limit, which the API server would refuse with a sentence about our container.
    pub(crate) fn is_consistent(&self) -> bool {
        self.memory_request <= self.memory_limit && self.cpu_limit.is_none_or(|limit| self.cpu_request <= limit)
    }

    /// As a container has them.
    pub(crate) fn value(&self) -> Value {
        let mut limits = json!({"memory": self.memory_limit.to_string()});
        if let Some(cpu) = self.cpu_limit {
            limits["cpu"] = cpu.to_string().into();
        }
        let requests = json!({"cpu": self.cpu_request.to_string(), "memory": self.memory_request.to_string()});
        json!({"requests": requests, "limits": limits})
    }
}
