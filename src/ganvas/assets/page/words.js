/** What the page says, in English and Chinese. */

export const WORDS = {
  en: {
    title: "Made by a generator",
    labels: "Write",
    names: "Classes",
    seed: "Seed",
    variations: "Variations",
    truncation: "Truncation",
    play: "Play",
    pause: "Pause",
    download: "Download PNG",
    another: "Another",
    loading: "Opening the generator …",
    unknown: (text) => `No class “${text}”`,
    empty: "Write something",
    language: "中文",
    picture: "Generated images",
    about: (card) => `${card.recipe}, trained on ${card.data_images.toLocaleString("en")} images of ${card.data}. `
      + "Everything runs in this page: nothing is sent.",
  },
  zh: {
    title: "由生成器生成",
    labels: "内容",
    names: "类别",
    seed: "种子",
    variations: "变体数",
    truncation: "截断",
    play: "播放",
    pause: "暂停",
    download: "下载 PNG",
    another: "换一组",
    loading: "正在打开生成器……",
    unknown: (text) => `没有类别“${text}”`,
    empty: "请输入内容",
    language: "English",
    picture: "生成的图像",
    about: (card) => `${card.recipe}，训练数据为 ${card.data} 的 ${card.data_images.toLocaleString("zh")} 张图像。`
      + "一切都在本页面内运行，不会发送任何数据。",
  },
};
