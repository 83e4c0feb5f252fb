# Data sets of R's survival package as CSV, and what survival makes of them: Rscript r_survival.R OUT
# One file <set>-<variant>.csv per table, <set>-<variant>.results.csv with rows (quantity, item, value, 17 digits), and
# <set>-<variant>.times with the times at which the curves are read. Variant "noisy" holds times equal but for rounding.
suppressMessages(library(survival))
options(warn = -1)
out <- commandArgs(trailingOnly = TRUE)[1]
number <- function(x) as.numeric(as.factor(x))
table_of <- function(time, event, group, ...) {
  all <- data.frame(time = as.numeric(time), event = as.numeric(event), group = as.character(group), ...)
  all[complete.cases(all), ]
}
first <- bladder[bladder$enum == 1, ]
death <- colon[colon$etype == 2, ]
sets <- list(
  aml = with(aml, table_of(time, status, x, x = number(x))),
  bladder = with(first, table_of(stop, event, rx, rx, size, number)),
  lung = with(lung, table_of(time, status == 2, ph.ecog, age, sex, ph.ecog, ph.karno, wt.loss)),
  colon = with(death, table_of(time, status, rx, sex, age, obstruct, nodes, extent)),
  diabetic = with(diabetic, table_of(time, status, trt, age, trt, risk)),
  flchain = with(flchain, table_of(futime, death, flc.grp, age, kappa, lambda, creatinine)),
  gbsg = with(gbsg, table_of(rfstime, status, grade, age, size, grade, nodes, pgr, er, hormon)),
  jasa = with(jasa, table_of(futime, fustat, transplant, age, surgery, transplant)),
  kidney = with(kidney, table_of(time, status, disease, age, sex, frail)),
  mgus = with(mgus, table_of(futime, death, sex, age, sex = number(sex), alb, hgb)),
  mgus2 = with(mgus2, table_of(futime, death, sex, age, sex = number(sex), hgb, creat, mspike)),
  myeloid = with(myeloid, table_of(futime, death, trt, trt = number(trt), sex = number(sex))),
  nafld1 = with(nafld1, table_of(futime, status, male, age, male, bmi)),
  nwtco = with(nwtco, table_of(edrel, rel, stage, age, stage, histol, instit)),
  ovarian = with(ovarian, table_of(futime, fustat, rx, age, resid.ds, rx, ecog.ps)),
  pbc = with(pbc, table_of(time, status == 2, stage, age, edema, bili, albumin, protime)),
  rats = with(rats, table_of(time, status, rx, rx, sex = number(sex))),
  retinopathy = with(retinopathy, table_of(futime, status, paste(type, trt), age, trt, risk)),
  rotterdam = with(rotterdam, table_of(dtime, death, size, age, meno, nodes, pgr, er, hormon)),
  stanford2 = with(stanford2, table_of(time, status, age > 40, age, t5)),
  transplant = with(transplant, table_of(futime, event == "ltx", abo, age, year, sex = number(sex))),
  udca1 = with(udca1, table_of(futime, status, trt, trt, stage, bili, riskscore)),
  udca2 = with(udca2, table_of(futime, status, endpoint, trt, stage, bili, riskscore)),
  veteran = with(veteran, table_of(time, status, celltype, trt, karno, diagtime, age, prior))
)

# Sums and products that rounding does not undo, and noise far within the tolerance, another one in each row.
blur <- function(time) {
  way <- seq_along(time) %% 5 + 1
  mixed <- cbind(time, time / 3 / 7 * 3 * 7, (time + 0.1) - 0.1, time * (1 + runif(length(time), 0, 1e-12)),
                 time * (1 + 2^-52))
  mixed[cbind(seq_along(time), way)]
}

digits <- function(x) ifelse(is.na(x), "", sprintf("%.17g", x))

judge <- function(data, at) {
  found <- list()
  add <- function(quantity, item, value) {
    found[[length(found) + 1]] <<- data.frame(quantity, item = as.character(item), value = digits(value))
  }
  y <- with(data, Surv(time, event))
  x <- setdiff(names(data), c("time", "event", "group"))
  for (ties in c("efron", "breslow")) {
    fit <- coxph(reformulate(x, "y"), data, ties = ties, control = coxph.control(eps = 1e-14, iter.max = 50))
    key <- function(name) paste("cox", ties, name)
    add(key("coef"), x, coef(fit))
    add(key("se"), x, sqrt(diag(vcov(fit))))
    add(key("loglik"), c("null", "fitted"), fit$loglik)
    add(key("concordance"), "", fit$concordance[["concordance"]])
    test <- cox.zph(fit, transform = "km", terms = FALSE)$table
    add(key("schoenfeld"), x, test[seq_along(x), "p"])
    add(key("schoenfeld_global"), "", test[nrow(test), "p"])
  }
  test <- survdiff(y ~ group, data)
  add("logrank", c("chisq", "df", "p"), c(test$chisq, sum(test$exp > 0) - 1, test$pvalue))
  fit <- survfit(y ~ group, data, conf.type = "log-log")
  label <- function(name) sub("^group=", "", name)
  table <- summary(fit)$table
  for (column in c("median", "0.95LCL", "0.95UCL")) add(paste("km", column), label(rownames(table)), table[, column])
  curve <- summary(fit, times = at)
  item <- paste(label(curve$strata), match(curve$time, at) - 1, sep = "|")
  for (column in c("surv", "lower", "upper", "n.risk")) add(paste("km", column), item, curve[[column]])
  do.call(rbind, found)
}

set.seed(1)
for (name in names(sets)) {
  known <- unique(quantile(sets[[name]]$time, seq(0, 1, length.out = 41), type = 1))
  for (variant in c("clean", "noisy")) {
    data <- sets[[name]]
    at <- unique(c(0, known, (known[-1] + known[-length(known)]) / 2))
    if (variant == "noisy") {
      data$time <- blur(data$time)
      at <- at + 1e-6  # past the times that are tied, so that only one answer is right
    }
    at <- sort(at[at < max(data$time)])
    file <- file.path(out, paste0(name, "-", variant))
    text <- data
    for (column in names(text)) if (is.numeric(text[[column]])) text[[column]] <- digits(text[[column]])
    write.csv(text, paste0(file, ".csv"), row.names = FALSE)
    write.csv(judge(data, at), paste0(file, ".results.csv"), row.names = FALSE)
    writeLines(digits(at), paste0(file, ".times"))
  }
}
